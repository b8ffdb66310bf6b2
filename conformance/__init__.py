"""Conformance: judges what others and we ourselves send, by its own reading of the standards."""
