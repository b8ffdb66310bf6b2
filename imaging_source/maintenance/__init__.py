"""What operators do with the whole source: copies of it, and proof that it is undamaged."""
