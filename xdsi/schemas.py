"""The database schemas of the services, brought up to date (`xdsi db upgrade`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.settings import ServiceSettings
from shared.store.engine import open_database
from shared.store.snapshot import open_snapshot, revision
from xdsi.copies import is_here
from xdsi.serve import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """What became of one schema: alembic revisions, empty where there are none, and the tables added."""

    service: Service
    before: str
    after: str
    added: tuple[str, ...]

    def __str__(self) -> str:
        if (self.before, self.added) == (self.after, ()):
            return f"up to date{f' ({self.after})' if self.after else ''}"
        steps = f"{self.before or 'nothing'} → {self.after}" if self.after else ""
        tables = f"tables added: {', '.join(self.added)}" if self.added else ""
        return "; ".join(filter(None, (steps, tables)))


async def upgrade(service: Service, settings: ServiceSettings) -> Upgraded:
    """Bring the schema of a service up to date, in one transaction.

    On PostgreSQL beside a running service, which waits meanwhile; on SQLite alone.

    Raises
    ------
    DatabaseUnavailable
        It cannot be reached, or the service runs on its SQLite file.
    SchemaError
        It is of a newer release, or damaged.
    """
    before = await _state(settings)
    # The application's module brings every table with it, wherever it is defined.
    module: Any = importlib.import_module(f"{service.package}.app")
    metadata = getattr(module, "METADATA", None) or module.metadata
    database = await open_database(
        settings.database_url,
        folder=settings.folder,
        metadata=metadata,
        migrations=getattr(module, "MIGRATIONS", None),
    )
    await database.close()
    after = await _state(settings)
    return Upgraded(
        service=service, before=before[0], after=after[0], added=tuple(sorted(after[1] - before[1]))
    )


async def _state(settings: ServiceSettings) -> tuple[str, frozenset[str]]:
    """The revision of a schema and its tables."""
    if not await is_here(settings):
        return "", frozenset()
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        return await revision(snapshot), frozenset(await snapshot.tables())


async def upgrade_all(config: Path | None, services: list[Service]) -> list[Upgraded]:
    """Upgrade one after the other; what was done stays done when a later one is refused."""
    return [await upgrade(service, service.settings_class().load(config)) for service in services]
