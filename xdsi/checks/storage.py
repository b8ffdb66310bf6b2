"""Folders and stores: may we write, is there room?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.settings import ServiceSettings
from shared.settings.storage import is_object_store, storage_folder
from shared.store.space import space_of
from xdsi import data_folder
from xdsi.checks.finding import Finding, of_problem, well, wrong

if TYPE_CHECKING:
    from shared.store.objects import S3Access


def folders(settings: ServiceSettings) -> Iterator[Finding]:
    """The data folder, and others that the settings name."""
    yield _folder("XDSI_DATA", settings.data)
    for name, url in urls(settings):
        if (folder := storage_folder(url)) is not None:
            yield _folder(name, folder)
    if settings.wire_folder is not None:
        yield _folder("XDSI_WIRE_FOLDER", settings.wire_folder)


def _folder(subject: str, folder: Path) -> Finding:
    if problem := data_folder.trouble(folder, subject):
        return of_problem("folder", problem)
    absolute = folder.absolute()
    place = next(parent for parent in (absolute, *absolute.parents) if parent.exists())
    space = space_of(place)
    share = space.free_bytes / space.total_bytes if space.total_bytes else 0.0
    state = f"{absolute}: writable, {space.free_bytes / 1024**3:.1f} GiB free ({share:.0%})"
    if space.is_short:
        least = f"{space.reserved_bytes / 1024**3:.2g} GiB"
        remedy = f"free space, or name another folder in {subject}: nothing new is kept below {least}"
        return wrong("space", subject, state, remedy)
    return well("folder", subject, state)


async def object_stores(settings: Any) -> list[Finding]:
    """Write, read and remove a small object in each store that is one of objects."""
    findings = []
    for name, url in urls(settings):
        if not is_object_store(url):
            continue
        if problem := await asyncio.to_thread(object_store_trouble, name, url, settings.s3):
            findings.append(of_problem("object-store", problem))
        else:
            findings.append(well("object-store", name, f"{url}: written, read, removed"))
    return findings


def urls(settings: Any) -> Iterator[tuple[str, str]]:
    """The settings that name a storage, and what they name."""
    for name in ("storage_url", "replica_url", "cold_storage_url"):
        if url := getattr(settings, name, None):
            yield f"XDSI_{name.upper()}", url


def object_store_trouble(name: str, url: str, access: S3Access, *, settled: bool = False) -> str:
    """Why the store of `url`, which the setting `name` gives, cannot be used, with the remedy; empty when it
    can. Asks once; blocks.

    `settled` asks for that alone which waiting does not mend.
    """
    from shared.store.objects import Objects, ObjectsUnavailable

    try:
        Objects(url, access, retries=0).probe()
    except ObjectsUnavailable as error:
        return f"{error.setting or name}: {url}: {error}" if error.settled or not settled else ""
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) and error.strerror else error
        return f"{name}: {url}: {told}; correct XDSI_S3__TRUST, or another setting of XDSI_S3"
    return ""
