"""Work beside the requests of the audit repository."""
