"""Databases: logged in to as the service does, without changing anything."""

from __future__ import annotations

import importlib

from shared.settings import PREFIX, SEPARATOR, ServiceSettings
from shared.store.failures import DatabaseError
from xdsi.checks.finding import Finding, of_problem, well
from xdsi.services import Service

#: The services that keep nothing in a database.
WITHOUT = frozenset({Service.CONSUMER, Service.GATEWAY, Service.CONFORMANCE})


def setting_of(service: Service) -> str:
    """The setting that names the database of a service."""
    return f"{PREFIX}{service.package.upper()}{SEPARATOR}DATABASE_URL"


async def database(service: Service, settings: ServiceSettings) -> list[Finding]:
    """May the service log in, make its tables or write them, and read their revision?"""
    from shared.store.inspection import inspect

    migrations: str = importlib.import_module(f"{service.package}.store.tables").MIGRATIONS
    try:
        inspection = await inspect(settings.database_url, folder=settings.folder, migrations=migrations)
    except DatabaseError as error:
        return [of_problem("database", f"{setting_of(service)}: {error}", service)]
    return [well("database", setting_of(service), str(inspection), service)]
