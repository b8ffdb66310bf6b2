"""Tables, statements, files."""
