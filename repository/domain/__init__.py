"""Rules of the repository, in plain Python."""
