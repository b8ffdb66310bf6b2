"""What the repository keeps: content-addressed files, and the index of documents and provisions."""
