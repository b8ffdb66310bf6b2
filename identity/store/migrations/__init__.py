"""Alembic revisions of the identity service's schema."""
