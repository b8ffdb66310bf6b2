"""Documents and instances in an object store, copied beside their rows (docs/restore-drill.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.contents import FOLDER as INSTANCES
from repository.settings import RepositorySettings
from repository.store.encoding import Encoding, EncodingError
from repository.store.files import ENCODED
from repository.store.stores import encoding_of
from shared.settings.storage import storage_folder
from shared.store.mirror import IsWhole, Mirrored, load, save
from shared.store.objects import Objects
from xdsi import configuration
from xdsi.services import Service

SERVICES: Final = (Service.REPOSITORY, Service.IMAGING_SOURCE)
_CHUNK: Final = 1024**2


async def save_objects(service: Service, config: Path | None, folder: Path) -> Mirrored | None:
    """Copy the objects of a service below `folder`; None where it keeps files. Raises as `save`."""
    if (store := _store_of(service, config)) is None:
        return None
    objects, is_whole = store
    return await save(objects, folder / service, is_whole)


async def load_objects(service: Service, config: Path | None, folder: Path) -> Mirrored | None:
    """Copy what was saved of a service into its store; None where it keeps files, or nothing was saved.
    Raises as `load`."""
    store = _store_of(service, config)
    if store is None or not (folder / service).is_dir():
        return None
    objects, is_whole = store
    return await load(folder / service, objects, is_whole)


def _store_of(service: Service, config: Path | None) -> tuple[Objects, IsWhole] | None:
    if service is Service.REPOSITORY:
        documents = configuration.load(RepositorySettings, config)
        url, access, below = documents.storage_url, documents.s3, ""
        is_whole = _whole_documents(encoding_of(documents))
    else:
        instances = configuration.load(ImagingSourceSettings, config)
        url = instances.cold_storage_url or instances.storage_url
        access, below = instances.s3, INSTANCES
        is_whole = _is_whole
    if url is None or storage_folder(url) is not None:
        return None
    return Objects(url, access, below=below), is_whole


def _is_whole(path: Path, sha256: str, name: str) -> bool:
    return _digest_of(_pieces(path)) == sha256


def _whole_documents(encoding: Encoding) -> IsWhole:
    def is_whole(path: Path, sha256: str, name: str) -> bool:
        if not name.endswith(ENCODED):
            return _is_whole(path, sha256, name)
        try:
            return _digest_of(encoding.decode(_pieces(path), sha256=sha256)) == sha256
        except EncodingError:
            return False

    return is_whole


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


def _digest_of(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
