"""The Imaging Document Consumer: finds and fetches, for a user or another program."""
