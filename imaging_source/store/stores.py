"""The store of contents that the settings name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imaging_source.domain.patient_table import WrongTable
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store import tiers
from imaging_source.store.archived_instances import ArchivedInstances
from imaging_source.store.contents import FOLDER, Contents
from imaging_source.store.copies import COPIES_FOLDER, ArchiveCopies, FrontFiles
from imaging_source.store.files import ContentFiles
from imaging_source.store.instances import InstanceStore
from imaging_source.store.local_patients import LocalPatients
from shared.imaging.instance import Issuer
from shared.imaging.transcoder import Workers
from shared.settings import SettingsError
from shared.settings.storage import storage_folder
from shared.store.engine import Database
from shared.store.folders import FolderHeld, FolderHold
from shared.store.opening import is_embedded


def open_contents(settings: ImagingSourceSettings) -> Contents:
    """The store of `storage_url`; blocks.

    Raises
    ------
    SettingsError
        It cannot be used, or instances of before are kept elsewhere.
    """
    check_left_behind(settings)
    folder = _files_of(settings)
    if folder is None:
        assert settings.storage_url is not None
        return _objects(settings, settings.storage_url)
    if settings.archives:
        copies = ArchiveCopies(settings.folder / COPIES_FOLDER, max_bytes=settings.archive_cache_bytes)
        return FrontFiles(folder, copies, keep_preamble=settings.keep_preamble)
    if (url := settings.cold_storage_url) is None:
        return ContentFiles(folder, keep_preamble=settings.keep_preamble)
    cold_folder = storage_folder(url)
    cold = _objects(settings, url) if cold_folder is None else ContentFiles(cold_folder / FOLDER)
    tiers.mark(folder, url)
    return tiers.TieredFiles(folder, cold, keep_preamble=settings.keep_preamble)


def open_instances(
    settings: ImagingSourceSettings, database: Database, contents: Contents, workers: Workers
) -> InstanceStore:
    """The instances whose rows are in `database` and whose contents `open_contents` gave."""
    options: dict[str, Any] = {
        "patient_id_issuer": Issuer(
            "", settings.publishing.issuers(settings.affinity_domain).patient_id, "ISO"
        ),
        "limits": settings.intake_limits,
        "character_set": settings.character_set,
        "corrections": settings.corrections,
        "patients": _patients(settings),
        "workers": workers,
    }
    if isinstance(contents, FrontFiles):
        return ArchivedInstances(database, contents, **options)
    return InstanceStore(database, contents, **options)


def _patients(settings: ImagingSourceSettings) -> LocalPatients:
    try:
        return LocalPatients(settings.local_patients, settings.unlisted_patients, settings.own_issuers)
    except WrongTable as error:
        raise SettingsError((f"XDSI_IMAGING_SOURCE__LOCAL_PATIENTS: {error}",)) from None


def _objects(settings: ImagingSourceSettings, url: str) -> Contents:
    from imaging_source.store.objects import ContentObjects

    try:
        return ContentObjects(
            url,
            settings.s3,
            settings.folder,
            cache_bytes=settings.transcode_cache_bytes,
            keep_preamble=settings.keep_preamble,
        )
    except (OSError, ValueError) as error:
        raise SettingsError((f"XDSI_S3: the object store cannot be used: {error}",)) from None


def hold_contents(settings: ImagingSourceSettings) -> Iterator[FolderHold]:
    """The right to each folder of instances: alone with an SQLite, whose rows tell of all that is in it, else
    together with others at the same PostgreSQL; none for objects.

    Raises
    ------
    SettingsError
        Another process has it.
    """
    for name, folder in (
        ("STORAGE_URL", _files_of(settings)),
        ("COLD_STORAGE_URL", _cold_files_of(settings)),
    ):
        if folder is None:
            continue
        try:
            yield FolderHold(folder, shared=not is_embedded(settings.database_url))
        except FolderHeld as error:
            raise SettingsError((f"XDSI_{name}: {error}; several share one on PostgreSQL alone",)) from None


def check_left_behind(settings: ImagingSourceSettings) -> None:
    """Raise `SettingsError` when instances are in the folder of an installation that names no storage, and
    the settings name another one: whoever looks for them there would find none; blocks."""
    own = settings.folder / FOLDER
    if _files_of(settings) != own and next(own.glob("[0-9a-f][0-9a-f]/*.dcm"), None) is not None:
        raise SettingsError(
            (
                f"XDSI_STORAGE_URL: instances are kept in {own}, and not there; copy them (xdsi db backup, "
                "then restore with the new settings), or set XDSI_IMAGING_SOURCE__STORAGE_URL to "
                f"{settings.folder.absolute().as_uri()}",
            )
        )
    if (folder := _files_of(settings)) is not None:
        tiers.check_mark(folder, settings.cold_storage_url)


def _cold_files_of(settings: ImagingSourceSettings) -> Path | None:
    """The folder of instances that were moved; None where they are objects, or none are moved."""
    if settings.cold_storage_url is None or (folder := storage_folder(settings.cold_storage_url)) is None:
        return None
    return folder / FOLDER


def _files_of(settings: ImagingSourceSettings) -> Path | None:
    """The folder of instances; None where they are objects."""
    if settings.storage_url is None:
        return settings.folder / FOLDER
    folder = storage_folder(settings.storage_url)
    return None if folder is None else folder / FOLDER
