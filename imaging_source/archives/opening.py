"""The archives that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx2

from imaging_source.archives.archive import Archive
from imaging_source.archives.archives import Archives
from imaging_source.archives.dicomweb import DicomwebArchive
from imaging_source.archives.moves import Moves
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.archives import ArchiveSettings
from imaging_source.store.archived_instances import ArchivedInstances
from imaging_source.store.instances import InstanceStore
from imaging_source.store.transfers import Record
from shared.security.caller import Node

ByDimse = Callable[[str, ArchiveSettings, Moves], Archive]
"""An archive that is asked by DIMSE, of its name and settings."""


def each_archive(
    settings: ImagingSourceSettings,
    http: httpx2.AsyncClient,
    *,
    node: Node,
    by_dimse: ByDimse,
    moves: Moves,
) -> Iterator[Archive]:
    """The archives of `settings`, in their order, as `node` asks them by `http`."""
    for name, archive in settings.archives.items():
        if archive.url is None:
            yield by_dimse(name, archive, moves)
        else:
            yield DicomwebArchive(
                name,
                archive.address,
                http,
                node=node,
                seconds=settings.archive_answer_seconds,
                authorization=archive.authorization,
            )


def open_archives(
    settings: ImagingSourceSettings,
    instances: InstanceStore,
    http: httpx2.AsyncClient,
    *,
    node: Node,
    record: Record,
    by_dimse: ByDimse,
) -> Archives:
    """All of them, and what is noted of what they have."""
    if not isinstance(instances, ArchivedInstances):
        return Archives()
    moves = Moves()
    return Archives(
        list(each_archive(settings, http, node=node, by_dimse=by_dimse, moves=moves)),
        instances,
        record,
        check_seconds=settings.archive_check_seconds,
        max_instance_bytes=settings.max_instance_bytes,
        moves=moves,
    )
