"""Archives that are fronted, and who may connect by DIMSE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imaging_source.archives.archives import LastFailure
from imaging_source.pages.page import PageUnit, look_served, shown
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.archives import Retrieval
from shared.pages.browser import Browser
from shared.pages.page import PatientPage


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownArchive:
    """An archive, how it is asked, and how it failed last, if it did."""

    name: str
    address: str
    road: str
    failure: LastFailure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEntity:
    """An application entity, and what it may."""

    title: str
    address: str
    certificate: str
    services: tuple[str, ...]
    destinations: tuple[str, ...]


async def connections(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show archives and application entities."""
    service = unit.parts.service
    settings = service.settings
    return await shown(
        unit,
        "connections.html",
        browser,
        archives=[*_archives(settings, service.archives.last_failures)],
        entities=[*_entities(settings)],
        others=settings.calling_ae_titles,
        ae_title=settings.ae_title,
        dimse_port=settings.dimse_port,
    )


def _archives(settings: ImagingSourceSettings, failures: dict[str, LastFailure]) -> Iterator[ShownArchive]:
    for name, archive in settings.archives.items():
        by = "C-MOVE to this source" if archive.retrieve is Retrieval.MOVE else "C-GET"
        yield ShownArchive(
            name=name,
            address=archive.address or archive.ae_title or "",
            road="QIDO-RS and WADO-RS" if archive.address else f"C-FIND and {by}",
            failure=failures.get(name),
        )


def _entities(settings: ImagingSourceSettings) -> Iterator[ShownEntity]:
    for title, entity in settings.application_entities.items():
        by_tls = ", TLS" if settings.secures(entity) else ""
        yield ShownEntity(
            title=title,
            address=f"{entity.host} port {entity.port}{by_tls}" if entity.host else "",
            certificate=entity.certificate or "",
            services=tuple(map(str, entity.services)),
            destinations=entity.destinations,
        )


SERVED = (look_served(name="Connections", route="GET /connections", handle=connections),)
