"""Rules of the consumer, in plain Python."""
