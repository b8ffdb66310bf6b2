from tests.support.databases import database_place, postgres_url
from tests.support.registry import lenient_registry, registry

__all__ = ["database_place", "lenient_registry", "postgres_url", "registry"]
