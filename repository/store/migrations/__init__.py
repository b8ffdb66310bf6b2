"""Alembic revisions of the repository's schema."""
