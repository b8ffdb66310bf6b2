"""Backup and restore of the services of a community, as far as their data are here.

Who refers comes before what is referred to: the registry before the repository, so that every registered
document is in the copy of the repository, and that before the imaging source, whose instances manifests name.
The trail comes last, with what was recorded of all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from audit_repository.maintenance import backup as audit_repository
from audit_repository.settings import AuditRepositorySettings
from imaging_source.maintenance import backup as imaging_source
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.stores import open_contents
from registry.maintenance import backup as registry
from registry.settings import RegistrySettings
from repository.maintenance import backup as repository
from repository.settings import RepositorySettings
from repository.store.files import FileBlobs
from repository.store.stores import encoding_of, open_blobs
from shared.settings import ServiceSettings
from shared.store.backup import BackupError, BackupManifest, contents_of, read_manifest
from shared.store.snapshot import open_snapshot
from xdsi.configuration import load
from xdsi.services import Service

SERVICES = (Service.REGISTRY, Service.REPOSITORY, Service.IMAGING_SOURCE, Service.AUDIT_REPOSITORY)

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Shows work by its name and its bytes, if they are known; is told of bytes done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What was copied of one service; `missing` are digests of what was not whole."""

    service: Service
    manifest: BackupManifest
    missing: list[str] = field(default_factory=list)


async def is_here(settings: ServiceSettings) -> bool:
    """Whether a service has data where its settings say; raises `DatabaseUnavailable` when that cannot be
    told."""
    url = settings.database_url
    if url is None or url.startswith("sqlite"):
        name = settings.folder.name.replace("-", "_")
        path = settings.folder / f"{name}.sqlite3" if url is None else Path(url.split("///", 1)[-1])
        return path.is_file()
    async with open_snapshot(url, folder=settings.folder) as snapshot:
        return bool(await snapshot.tables())


async def services_here(config: Path | None, among: Sequence[Service]) -> list[Service]:
    """Those of `among` that have data here, in their order."""
    return [service for service in among if await is_here(load(service.settings_class(), config))]


async def back_up(service: Service, config: Path | None, folder: Path, progress: Progress) -> Copied:
    """Back up one service into its folder below `folder`."""
    below = folder / service
    await asyncio.to_thread(below.mkdir, parents=True, exist_ok=True)
    if service is Service.REGISTRY:
        return Copied(service=service, manifest=await registry.backup(load(RegistrySettings, config), below))
    if service is Service.AUDIT_REPOSITORY:
        trail = await audit_repository.backup(load(AuditRepositorySettings, config), below)
        return Copied(service=service, manifest=trail)
    if service is Service.REPOSITORY:
        settings = load(RepositorySettings, config)
        copies = repository.backup(settings, open_blobs(settings), _files(settings, below), below)
    else:
        instances = load(ImagingSourceSettings, config)
        contents = await asyncio.to_thread(open_contents, instances)
        copies = imaging_source.backup(instances, contents, below)
    missing = await _missing(copies, progress(f"backup {service}", None))
    return Copied(service=service, manifest=await _manifest(below, service), missing=missing)


async def restore(
    service: Service,
    config: Path | None,
    folder: Path,
    progress: Progress,
    *,
    registry_taken: float | None = None,
) -> Copied:
    """Restore one service from its folder below `folder`; `registry_taken` as for the repository's."""
    below = folder / service
    manifest = await _manifest(below, service)
    if service is Service.REGISTRY:
        await registry.restore(load(RegistrySettings, config), below, manifest)
        return Copied(service=service, manifest=manifest)
    if service is Service.AUDIT_REPOSITORY:
        await audit_repository.restore(load(AuditRepositorySettings, config), below, manifest)
        return Copied(service=service, manifest=manifest)
    if service is Service.REPOSITORY:
        settings = load(RepositorySettings, config)
        copies = repository.restore(
            settings,
            _files(settings, below),
            open_blobs(settings),
            below,
            manifest,
            registry_taken=registry_taken,
        )
    else:
        instances = load(ImagingSourceSettings, config)
        contents = await asyncio.to_thread(open_contents, instances)
        copies = imaging_source.restore(instances, contents, below, manifest)
    total = await asyncio.to_thread(_total, below / manifest.index)
    missing = await _missing(copies, progress(f"restore {service}", total))
    return Copied(service=service, manifest=manifest, missing=missing)


def services_in(folder: Path, among: Sequence[Service]) -> list[Service]:
    """Those of `among` of which `folder` has a backup, in their order; blocks.

    Raises
    ------
    BackupError
        There is none.
    """
    services = [service for service in among if (folder / service).is_dir()]
    if not services:
        raise BackupError(f"{folder} is no backup: it has no folder of {', '.join(among)}")
    return services


async def _manifest(folder: Path, service: Service) -> BackupManifest:
    return await asyncio.to_thread(read_manifest, folder, service.package)


def _total(index: Path) -> int:
    return sum(size for _, size in contents_of(index))


async def _missing(
    copies: AsyncIterator[tuple[str, int, bool]], shown: AbstractContextManager[Callable[[int], None]]
) -> list[str]:
    missing = []
    with shown as advance:
        async for sha256, size, whole in copies:
            advance(size)
            if not whole:
                missing.append(sha256)
    return missing


def _files(settings: RepositorySettings, folder: Path) -> FileBlobs:
    """The store in a backup; encrypted when the repository's own is."""
    return FileBlobs(folder, encoding_of(settings))
