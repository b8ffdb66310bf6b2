"""The database schemas of the services, brought up to date (`xdsi db upgrade`)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from shared.settings import ServiceSettings
from shared.store.opening import open_database
from shared.store.snapshot import open_snapshot, revision
from xdsi.configuration import load
from xdsi.copies import is_here
from xdsi.services import Service

#: The services that keep a database.
SERVICES = (Service.REGISTRY, Service.REPOSITORY, Service.IMAGING_SOURCE, Service.AUDIT_REPOSITORY)

_NOTHING = "nothing"
_FIRST_RELEASE = "tables without a revision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgraded:
    """From which alembic revision a schema was brought to which; before the first there are words for it."""

    service: Service
    before: str
    after: str

    def __str__(self) -> str:
        return f"up to date ({self.after})" if self.before == self.after else f"{self.before} → {self.after}"


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
    before = await _revision(settings)
    migrations: str = importlib.import_module(f"{service.package}.store.tables").MIGRATIONS
    database = await open_database(settings.database_url, folder=settings.folder, migrations=migrations)
    await database.close()
    return Upgraded(service=service, before=before, after=await _revision(settings))


async def _revision(settings: ServiceSettings) -> str:
    if not await is_here(settings):
        return _NOTHING
    async with open_snapshot(settings.database_url, folder=settings.folder) as snapshot:
        return await revision(snapshot) or _FIRST_RELEASE


async def upgrade_all(config: Path | None, services: list[Service]) -> list[Upgraded]:
    """Upgrade one after the other; what was done stays done when a later one is refused."""
    return [await upgrade(service, load(service.settings_class(), config)) for service in services]
