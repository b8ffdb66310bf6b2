"""Alembic revisions of the imaging source's schema."""
