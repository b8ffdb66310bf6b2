"""The acts of `xdsi demo`."""
