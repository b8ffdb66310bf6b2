"""The command line; it alone knows every service."""
