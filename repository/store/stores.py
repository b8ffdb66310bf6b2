"""The store of blobs that the settings name."""

from __future__ import annotations

from pathlib import Path

from repository.settings import RepositorySettings
from repository.store.blobs import Blobs
from repository.store.encoding import Encoding, printed_keys, read_key
from repository.store.files import FileBlobs
from shared.settings import SettingsError
from shared.settings.storage import storage_folder


def encoding_of(settings: RepositorySettings) -> Encoding:
    """How blobs are written at rest.

    Raises
    ------
    SettingsError
        A key cannot be had.
    """
    printed = printed_keys(settings.encryption_key_command) if settings.encryption_key_command else []
    return Encoding([*printed, *map(read_key, settings.encryption_keys)], compress=settings.compress)


def open_blobs(settings: RepositorySettings) -> Blobs:
    """The store of `storage_url`.

    Raises
    ------
    SettingsError
        A key cannot be had.
    """
    return _open(settings.storage_url, settings, settings.folder)


def open_replica(settings: RepositorySettings) -> Blobs | None:
    """The store of `replica_url`, if there is one."""
    if settings.replica_url is None:
        return None
    return _open(settings.replica_url, settings, settings.folder / "replica")


def _open(url: str | None, settings: RepositorySettings, folder: Path) -> Blobs:
    encoding = encoding_of(settings)
    if url is None:
        return FileBlobs(folder, encoding)
    if (files := storage_folder(url)) is not None:
        return FileBlobs(files, encoding)
    from repository.store.objects import ObjectBlobs

    try:
        return ObjectBlobs(url, settings.s3, folder, encoding)
    except (OSError, ValueError) as error:
        raise SettingsError((f"XDSI_S3: the object store cannot be used: {error}",)) from None
