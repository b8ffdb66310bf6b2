"""Folders and stores: may we write, is there room?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.settings import ServiceSettings, SettingsError
from xdsi import data_folder
from xdsi.checks.finding import Finding, of_problem, well, wrong

ENOUGH_SPACE = 0.05


def folders(settings: ServiceSettings) -> Iterator[Finding]:
    """The data folder, and others that the settings name."""
    yield _folder("XDSI_DATA", settings.data)
    for name in ("storage_url", "replica_url"):
        parts = urlsplit(getattr(settings, name, None) or "")
        if parts.scheme == "file":
            yield _folder(f"XDSI_{name.upper()}", Path(unquote(parts.path)))
    if settings.wire_folder is not None:
        yield _folder("XDSI_WIRE_FOLDER", settings.wire_folder)


def _folder(subject: str, folder: Path) -> Finding:
    if problem := data_folder.trouble(folder, subject):
        return of_problem("folder", problem)
    absolute = folder.absolute()
    place = next(parent for parent in (absolute, *absolute.parents) if parent.exists())
    usage = shutil.disk_usage(place)
    share = usage.free / usage.total if usage.total else 0.0
    state = f"{absolute}: writable, {usage.free / 1024**3:.0f} GiB free ({share:.0%})"
    if share < ENOUGH_SPACE:
        remedy = f"free space, or name another folder in {subject}: services are not ready below 5 %"
        return wrong("space", subject, state, remedy)
    return well("folder", subject, state)


async def object_stores(settings: Any) -> list[Finding]:
    """Write, read and remove a small object in each store that is one of objects."""
    findings = []
    for name in ("storage_url", "replica_url"):
        url = getattr(settings, name, None) or ""
        if not url.startswith("s3://"):
            continue
        from repository.store.objects import ObjectBlobs

        subject = f"XDSI_{name.upper()}"
        with tempfile.TemporaryDirectory() as folder:
            try:
                await ObjectBlobs(url, settings.s3, Path(folder)).probe()
            except SettingsError as error:
                findings += [of_problem("object-store", one, "repository") for one in error.problems]
            except (OSError, ValueError) as error:
                told = f"{url}: {error.strerror if isinstance(error, OSError) and error.strerror else error}"
                findings.append(of_problem("object-store", f"{subject}: {told}", "repository"))
            else:
                findings.append(well("object-store", subject, f"{url}: written, read, removed", "repository"))
    return findings
