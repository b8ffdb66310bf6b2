"""The Document Registry: the metadata of every document, and the queries over it."""
