"""What a record is, and how each is bound to the one before."""
