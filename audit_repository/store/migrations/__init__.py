"""Alembic revisions of the trail's schema."""
