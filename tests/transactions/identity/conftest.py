from __future__ import annotations

from tests.support.databases import database_place, postgres_url

__all__ = ["database_place", "postgres_url"]
