"""What operators do with the whole audit repository: copies of it."""
