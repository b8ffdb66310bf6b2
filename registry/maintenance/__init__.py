"""What operators do with the whole registry: copies of it."""
