"""Metadata values of the Document Sharing profiles and their ebRIM XML (ITI TF-3 4.1 and 4.2)."""
