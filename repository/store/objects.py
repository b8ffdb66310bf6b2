"""Blobs as objects of an S3-compatible store.

An upload is a new object, `ab/<sha256>/<uuid>`, and none is ever written twice: what a sweep has listed as
unused is never what an upload of the same bytes acknowledges meanwhile. Before an upload is acknowledged it
is read back and compared, because not every store checks what it is sent, or tells when it did not keep it.
Every call has a deadline.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from repository.settings import S3Settings
from repository.store.blobs import CHUNK_BYTES, Blobs, Copy, Referenced, StoreUnavailable
from repository.store.encoding import Encoding
from repository.store.files import ENCODED, remove_older
from shared.errors import OutOfResources
from shared.soap.mtom import Received
from shared.telemetry.log import logger

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig

PART_BYTES = 8 * 1024 * 1024
READ_BYTES = 4 * CHUNK_BYTES
CONCURRENT_PARTS = 2

_CONNECT_SECONDS = 5
_CALL_SECONDS = 30
_RETRIES = 3
_RETRY_SECONDS = 20
# An upload may take as long as one call, and as long as a slow line (2 MB/s) needs for the bytes.
_SLOWEST_BYTES_PER_SECOND = 2_000_000
_LIST_GROUPS = 500

_log = logger("repository.objects")

# What obstore raises; for some of its errors it has taken those of the system.
_REFUSED = (BaseError, FileNotFoundError, PermissionError)


def _why(error: Exception) -> str:
    """Why the store cannot be used, and which setting would be corrected; what it said itself is not told."""
    match error:
        case NotFoundError() | FileNotFoundError():
            return "has no such bucket; make it, or correct XDSI_STORAGE_URL"
        case PermissionDeniedError() | UnauthenticatedError() | PermissionError():
            return "refuses the key; correct XDSI_S3__ACCESS_KEY and XDSI_S3__SECRET_KEY"
    return f"does not answer ({type(error).__name__}); is it running? XDSI_S3__ENDPOINT names it"


Result = TypeVar("Result")


class ObjectBlobs(Blobs):
    """The objects below the prefix of `url`, `s3://bucket/prefix`; uploads are spooled below `folder`."""

    def __init__(
        self, url: str, settings: S3Settings, folder: Path, encoding: Encoding | None = None
    ) -> None:
        super().__init__(folder / "incoming", encoding)
        self._store = _store(url, settings)

    # --- writing -----------------------------------------------------------------------------------------

    async def keep(self, received: Received, *, mime_type: str = "") -> None:
        """Upload the spooled file, or an encoded copy of it, and compare what came to be."""
        encoded = self.incoming / f"encoded-{uuid4()}"
        try:
            is_encoded = await asyncio.to_thread(
                self._encoding.encode, received.path, encoded, sha256=received.sha256, mime_type=mime_type
            )
            source = encoded if is_encoded else received.path
            await self._upload(source, received, is_encoded)
        except OSError as error:
            raise OutOfResources(f"the document cannot be stored: {error.strerror}") from None
        finally:
            await asyncio.to_thread(partial(encoded.unlink, missing_ok=True))

    async def _upload(self, source: Path, received: Received, is_encoded: bool) -> None:
        key = f"{_folder(received.sha256)}{uuid4().hex}{ENCODED * is_encoded}"
        size = source.stat().st_size
        try:
            await asyncio.wait_for(self._put(key, source, size), _deadline(size))
            uploaded = self._copy(key, size)
            whole = await asyncio.to_thread(self._is_whole, uploaded, received.sha256, received.size)
        except (*_REFUSED, TimeoutError, StoreUnavailable) as error:
            _log.error("upload failed", sha256=received.sha256, error=type(error).__name__)
            raise OutOfResources("the document cannot be stored: the object store does not take it") from None
        if not whole:
            _log.error("upload kept other bytes", sha256=received.sha256)
            await self._discard(key)
            raise OutOfResources("the document cannot be stored: the object store kept other bytes")

    async def _put(self, key: str, source: Path, size: int) -> None:
        await obstore.put_async(
            self._store,
            key,
            source if size else b"",
            use_multipart=size > PART_BYTES,
            chunk_size=PART_BYTES,
            max_concurrency=CONCURRENT_PARTS,
        )

    async def _discard(self, key: str) -> None:
        try:
            await asyncio.wait_for(obstore.delete_async(self._store, key), _CALL_SECONDS)
        except (*_REFUSED, TimeoutError) as error:
            # Nothing refers to it: the sweep removes it.
            _log.warning("object not removed", error=type(error).__name__)

    async def probe(self) -> None:
        """Write, read back and remove a small object."""
        key = f"probe/{uuid4().hex}"
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await obstore.put_async(self._store, key, b"probe")
                result = await obstore.get_async(self._store, key)
                octets = bytes(await result.bytes_async())
                await obstore.delete_async(self._store, key)
        except (*_REFUSED, TimeoutError) as error:
            raise OSError(f"the object store {_why(error)}") from None
        if octets != b"probe":
            raise OSError("the object store gave back other bytes")

    async def heal(self) -> None:
        """An object store is asked anew each time."""

    # --- reading -----------------------------------------------------------------------------------------

    def _copies(self, sha256: str) -> list[Copy]:
        folder = _folder(sha256)
        listed = _asked(sha256, lambda: [one for page in obstore.list(self._store, folder) for one in page])
        listed.sort(key=lambda one: one["last_modified"], reverse=True)
        return [self._copy(one["path"], one["size"]) for one in listed]

    def _copy(self, key: str, size: int) -> Copy:
        return Copy(size=size, encoded=key.endswith(ENCODED), read=partial(self._chunks, key, size))

    def _chunks(self, key: str, size: int) -> Generator[bytes, None, None]:
        """The object in ranges, each a call of its own: a slow reader holds no connection, a broken one is
        taken up where it broke."""
        for start in range(0, size, READ_BYTES):
            end = min(start + READ_BYTES, size)
            yield _asked(key, partial(self._range, key, start, end))

    def _range(self, key: str, start: int, end: int) -> bytes:
        return bytes(obstore.get_range(self._store, key, start=start, end=end))

    # --- sweeping ----------------------------------------------------------------------------------------

    async def sweep(self, referenced: Referenced, *, grace_seconds: float) -> int:
        """Remove unused objects, and second copies of used ones."""
        before = time.time() - grace_seconds
        await asyncio.to_thread(remove_older, self.incoming, before)
        removed = 0
        groups = self._groups()
        while batch := await asyncio.to_thread(_asked, "sweep", lambda: list(islice(groups, _LIST_GROUPS))):
            old = {sha256: copies for sha256, copies in batch if any(_older(one, before) for one in copies)}
            kept = await referenced(sorted(old)) if old else set()
            for sha256, copies in old.items():
                unwanted = (
                    await asyncio.to_thread(self._superseded, sha256, copies) if sha256 in kept else copies
                )
                for one in unwanted:
                    if _older(one, before):
                        await self._discard(one["path"])
                        removed += 1
        return removed

    def _groups(self) -> Iterator[tuple[str, list[ObjectMeta]]]:
        """Every digest with its objects; keys are listed in their order."""
        everything = (one for page in obstore.list(self._store) for one in page)
        groups = (one for one in everything if one["path"].count("/") == 2)
        for sha256, of_one in groupby(groups, key=lambda one: one["path"].split("/")[1]):
            yield sha256, list(of_one)

    def _superseded(self, sha256: str, copies: list[ObjectMeta]) -> list[ObjectMeta]:
        """The copies that are not needed beside one that is whole."""
        ordered = sorted(copies, key=lambda one: one["last_modified"], reverse=True)
        for one in ordered if len(ordered) > 1 else ():
            if self._is_whole(self._copy(one["path"], one["size"]), sha256, None):
                return [other for other in ordered if other is not one]
        return []


def _store(url: str, settings: S3Settings) -> S3Store:
    parts = urlsplit(url)
    client: ClientConfig = {
        "allow_http": settings.allow_http,
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_CALL_SECONDS),
    }
    if settings.trust:
        client["root_certificate"] = settings.trust.read_bytes()
    return S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        endpoint=settings.endpoint,
        region=settings.region,
        access_key_id=settings.access_key,
        secret_access_key=settings.secret_key,
        virtual_hosted_style_request=False,
        disable_bulk_delete=True,
        client_options=client,
        retry_config={"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
    )


def _folder(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256}/"


def _deadline(size: int) -> float:
    return _CALL_SECONDS + _RETRY_SECONDS + size / _SLOWEST_BYTES_PER_SECOND


def _older(one: ObjectMeta, before: float) -> bool:
    return one["last_modified"].timestamp() < before


def _asked(what: str, call: Callable[[], Result]) -> Result:
    try:
        return call()
    except _REFUSED as error:
        _log.error("object store", what=what.rpartition("/")[0] or what, error=type(error).__name__)
        raise StoreUnavailable(what) from error
