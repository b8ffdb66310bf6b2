"""A database for each service: statements, reads, durable group commit."""
