"""The HTTP server: certificates, deadlines, zero-copy sending."""
