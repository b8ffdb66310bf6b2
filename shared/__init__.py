"""What two or more services share; it knows none of them."""
