"""The Document Repository: the bytes of documents, kept and returned unchanged."""
