"""A proxy between two systems that keeps what passes, a message at a time, without holding it."""
