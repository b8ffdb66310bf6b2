"""What is told of a run: to people at a terminal and on a page, to programs as JSON and JUnit XML."""
