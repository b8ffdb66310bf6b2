"""What operators do with the whole repository: copies of it, and proof that it is undamaged."""
