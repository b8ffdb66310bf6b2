"""Blobs as objects of an S3-compatible store (`shared.store.objects`).

Before an upload is acknowledged it is read back and compared, because not every store checks what it is sent,
or tells when it did not keep it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final
from uuid import uuid4

from repository.store.blobs import Blobs, Copy, Referenced
from repository.store.encoding import Encoding
from repository.store.files import ENCODED, remove_older
from shared.errors import OutOfResources
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.soap.mtom import Received
from shared.store.objects import ObjectCopy, ObjectLost, Objects, ObjectsUnavailable, S3Access, in_thread
from shared.telemetry.log import logger

_LIST_GROUPS: Final = 500

_log = logger("repository.objects")


class ObjectBlobs(Blobs):
    """The objects below the prefix of `url`, `s3://bucket/prefix`; uploads are spooled below `folder`."""

    def __init__(self, url: str, access: S3Access, folder: Path, encoding: Encoding | None = None) -> None:
        super().__init__(folder / "incoming", encoding)
        self._objects = Objects(url, access)

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
        try:
            uploaded = await self._objects.put(
                received.sha256, f"{uuid4().hex}{ENCODED * is_encoded}", source
            )
            whole = await in_thread(self._is_whole, self._copy(uploaded), received.sha256, received.size)
        except (ObjectsUnavailable, StoreUnavailable) as error:
            # What is wrong with the store is for its operator, not for whoever submits.
            reason = error if isinstance(error, ObjectsUnavailable) else error.__cause__
            _log.error("upload failed", sha256=received.sha256, reason=str(reason))
            raise OutOfResources("the document cannot be stored: the object store does not take it") from None
        if not whole:
            _log.error("upload kept other bytes", sha256=received.sha256)
            await self._objects.discard(uploaded.key)
            raise OutOfResources("the document cannot be stored: the object store kept other bytes")

    async def probe(self) -> None:
        """Write, read back and remove a small object."""
        try:
            await self._objects.check()
        except ObjectsUnavailable as error:
            raise OSError(str(error)) from None

    async def heal(self) -> None:
        """An object store is asked anew each time."""

    # --- reading -----------------------------------------------------------------------------------------

    def _copies(self, sha256: str) -> list[Copy]:
        try:
            return [self._copy(one) for one in self._objects.copies(sha256)]
        except ObjectsUnavailable as error:
            raise _unavailable(sha256, error) from error

    def _copy(self, one: ObjectCopy) -> Copy:
        return Copy(size=one.size, encoded=one.key.endswith(ENCODED), read=partial(self._chunks, one))

    def _chunks(self, one: ObjectCopy) -> Generator[bytes, None, None]:
        sha256 = one.key.split("/")[1]
        reading = self._objects.reading(one)
        try:
            yield from map(bytes, reading)
        except ObjectLost as error:
            raise DamagedBlob(sha256) from error
        except ObjectsUnavailable as error:
            raise _unavailable(sha256, error) from error
        finally:
            reading.close()

    # --- sweeping ----------------------------------------------------------------------------------------

    async def sweep(self, referenced: Referenced, *, grace_seconds: float) -> int:
        """Remove unused objects, and second copies of used ones."""
        before = time.time() - grace_seconds
        await asyncio.to_thread(remove_older, self.incoming, before)
        removed = 0
        try:
            for folder in await in_thread(self._objects.folders):
                groups = self._objects.groups(folder)
                while batch := await in_thread(lambda groups=groups: list(islice(groups, _LIST_GROUPS))):
                    removed += await self._swept(batch, referenced, before)
        except ObjectsUnavailable as error:
            raise _unavailable("sweep", error) from error
        return removed

    async def _swept(
        self, batch: list[tuple[str, list[ObjectCopy]]], referenced: Referenced, before: float
    ) -> int:
        old = {sha256: copies for sha256, copies in batch if any(one.written < before for one in copies)}
        referenced_digests = await referenced(sorted(old)) if old else set()
        removed = 0
        for sha256, copies in old.items():
            unwanted = (
                await in_thread(self._superseded, sha256, copies) if sha256 in referenced_digests else copies
            )
            for one in unwanted:
                if one.written < before:
                    await self._objects.discard(one.key)
                    removed += 1
        return removed

    def _superseded(self, sha256: str, copies: list[ObjectCopy]) -> list[ObjectCopy]:
        """The copies that are not needed beside one that is whole."""
        ordered = sorted(copies, key=lambda one: one.written, reverse=True)
        for one in ordered if len(ordered) > 1 else ():
            if self._is_whole(self._copy(one), sha256, None):
                return [other for other in ordered if other is not one]
        return []


def _unavailable(sha256: str, error: ObjectsUnavailable) -> StoreUnavailable:
    _log.error("the object store cannot be asked", sha256=sha256, reason=str(error))
    return StoreUnavailable(sha256)
