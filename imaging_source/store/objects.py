"""Contents of instances as objects of an S3-compatible store (`shared.store.objects`).

An object is named as the file aside that it was made of, so that what a process that died left names its
object as well. What is uploaded is read back before it is acknowledged. What is sent is compared on its way:
up to `RANGE_BYTES` before its first byte leaves, beyond it before its last.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from imaging_source.domain.intake import OUT_OF_RESOURCES, Refused, TooLong
from imaging_source.store.contents import FOLDER, Contents, Pace, at_once
from imaging_source.store.incoming import SpooledFile, StoreUnusable
from shared.http.checked import DamagedBlob, StoreUnavailable, checked
from shared.http.pieces import Stream
from shared.imaging.cache import FileCache
from shared.imaging.instance import Instance
from shared.store.objects import (
    RANGE_BYTES,
    ObjectCopy,
    ObjectLost,
    Objects,
    ObjectsUnavailable,
    Reading,
    S3Access,
    in_thread,
)
from shared.telemetry.log import logger

#: No upload takes so long: what has no row after it will never get one.
SETTLED_SECONDS: Final = 24 * 3600.0
# What is known of so many objects; about 400 bytes each.
_MAX_NOTED: Final = 100_000
_UPLOADED_AT_ONCE: Final = 4

_log = logger("imaging_source.objects")

Answer = TypeVar("Answer")


class ContentObjects(Contents):
    """The objects below `url`/instances; what arrives, and what is read as a file, is below `folder`.

    `cache_bytes` is the most that files of objects may take on this disk.
    """

    settled_seconds = SETTLED_SECONDS

    def __init__(
        self, url: str, access: S3Access, folder: Path, *, cache_bytes: int, keep_preamble: bool = False
    ) -> None:
        super().__init__(folder / "incoming", keep_preamble=keep_preamble)
        self._objects = Objects(url, access, below=FOLDER)
        self._cache = FileCache(folder / "fetched", max_bytes=cache_bytes)
        # The copy by which contents are sent, and what showed to be damaged when it was sent.
        self._noted: dict[str, ObjectCopy] = {}
        self._suspect: set[str] = set()
        # Copies of which this process has compared every byte.
        self._proofs: dict[str, ObjectCopy] = {}

    def name(self, sha256: str) -> str:
        """The digest: how many objects there are, and under which names, the store alone knows."""
        return sha256

    # --- keeping -----------------------------------------------------------------------------------------

    async def keep(self, *spooled: SpooledFile) -> None:
        """Upload the files, read them back and compare them."""
        for start in range(0, len(spooled), _UPLOADED_AT_ONCE):
            portion = spooled[start : start + _UPLOADED_AT_ONCE]
            for failure in await asyncio.gather(*map(self._upload, portion), return_exceptions=True):
                if failure is not None:
                    raise failure

    async def _upload(self, spooled: SpooledFile) -> None:
        sha256, size = spooled.sha256, spooled.size
        try:
            with self.guarded():
                uploaded = await self._objects.put(sha256, spooled.path.name, spooled.path)
            whole = await in_thread(self._is_whole, uploaded, sha256, size)
        except ObjectsUnavailable as error:
            # What is wrong with the store is for its operator, not for whoever sends.
            _log.error("an instance cannot be kept", sha256=sha256, reason=str(error))
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment") from error
        if not whole:
            _log.error("the object store kept other bytes", sha256=sha256)
            await self._objects.discard(uploaded.key)
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept: the object store kept other bytes")
        self._suspect.discard(sha256)
        _note(self._noted, sha256, uploaded)

    async def take_away(self, spooled: SpooledFile) -> None:
        """Remove the object that was made of this file, and no other with the same bytes: somebody else may
        have just acknowledged that."""
        self._noted.pop(spooled.sha256, None)
        await self._objects.discard(self._objects.key(spooled.sha256, spooled.path.name))

    def release(self, spooled: SpooledFile) -> None:
        """Remove the name aside."""
        spooled.path.unlink(missing_ok=True)

    def doubt(self, spooled: SpooledFile) -> None:
        """The name aside is that of the object already."""

    async def forget(self, sha256: str) -> None:
        """Remove the objects that are settled; others may be uploads of somebody whose row is to come."""
        self._noted.pop(sha256, None)
        try:
            copies = await in_thread(self._objects.copies, sha256)
        except ObjectsUnavailable as error:
            _log.warning("objects without a row stay for now", sha256=sha256, reason=str(error))
            return
        for one in copies:
            if one.written < time.time() - self.settled_seconds:
                await self._objects.discard(one.key)

    # --- reading -----------------------------------------------------------------------------------------

    async def damaged(self, instances: Sequence[Instance]) -> list[Instance]:
        """Those without an object of their size, or of which a damaged one was met and none is whole."""
        unknown = [one for one in instances if one.sha256 not in self._noted or one.sha256 in self._suspect]
        there = await asyncio.gather(*(in_thread(self._find, one.sha256, one.size) for one in unknown))
        return [instance for instance, is_there in zip(unknown, there, strict=True) if not is_there]

    def _find(self, sha256: str, size: int) -> bool:
        """Choose the copy that is sent; False when there is none."""
        copies = self._copies(sha256, size)
        if sha256 in self._suspect:
            copies = [one for one in copies if self._told(sha256, self._is_whole, one, sha256, size)]
        if not copies:
            return False
        self._suspect.discard(sha256)
        _note(self._noted, sha256, copies[0])
        return True

    def _copies(self, sha256: str, size: int) -> list[ObjectCopy]:
        return [one for one in self._told(sha256, self._objects.copies, sha256) if one.size == size]

    def content(self, of: Instance) -> Stream:
        """The object while it is being sent; damage that shows now is looked at before it is sent again."""
        return Stream(of.size, partial(self._sending, of.sha256, of.size), min(of.size, RANGE_BYTES))

    def _sending(self, sha256: str, size: int) -> Sending:
        return Sending(sha256, size, self._reading, self._suspected)

    def _suspected(self, sha256: str) -> None:
        self._suspect.add(sha256)
        self.on_damage(sha256)

    def _reading(self, sha256: str, size: int, *, again: bool) -> Reading:
        """The bytes of the copy at hand; of one that is looked for when that is gone."""
        if again:
            self._noted.pop(sha256, None)
            self._suspect.add(sha256)
        if sha256 not in self._noted and not self._find(sha256, size):
            raise DamagedBlob(sha256)
        return self._objects.reading(self._noted[sha256])

    async def local(self, of: Instance) -> Path:
        """The object as a file of the cache."""

        async def fetch(target: Path) -> None:
            try:
                await in_thread(self._fetch, of.sha256, of.size, target)
            except (DamagedBlob, StoreUnavailable) as error:
                raise OSError(errno.EIO, "what is stored cannot be read") from error

        return Path((await self._cache.file(f"{of.sha256}.dcm", of.size, fetch)).path)

    def _fetch(self, sha256: str, size: int, target: Path) -> None:
        with target.open("xb") as file:
            for octets in self.read(sha256, size):
                file.write(octets)

    def read(self, sha256: str, size: int) -> Iterator[memoryview]:
        """The first copy that is whole, in pieces."""
        copies = self._copies(sha256, size)
        for one in (
            copies if len(copies) == 1 else (one for one in copies if self._is_whole(one, sha256, size))
        ):
            reading = self._objects.reading(one)
            try:
                yield from checked(reading, sha256, size)
            except (ObjectLost, DamagedBlob) as error:
                self._suspect.add(sha256)
                raise DamagedBlob(sha256) from error
            except ObjectsUnavailable as error:
                raise _unavailable(sha256, error) from error
            finally:
                reading.close()
            return
        raise DamagedBlob(sha256)

    # --- proof -------------------------------------------------------------------------------------------

    async def whole(self, sha256: str, size: int) -> bool:
        """Whether there is a copy that is whole."""
        return await in_thread(self._prove, sha256, size, at_once, anew=False)

    async def proved(self, sha256: str, size: int, pace: Pace = at_once) -> bool:
        """As `whole`; damaged copies beside a whole one are removed."""
        return await in_thread(self._prove, sha256, size, pace, anew=True)

    def _prove(self, sha256: str, size: int, pace: Pace, *, anew: bool) -> bool:
        copies = self._copies(sha256, size)
        if not anew and self._proofs.get(sha256) in copies:
            return True
        self._proofs.pop(sha256, None)
        for one in copies:
            if self._told(sha256, self._is_whole, one, sha256, size, pace):
                _note(self._proofs, sha256, one)
                _note(self._noted, sha256, one)
                self._suspect.discard(sha256)
                return True
        return False

    def distrust(self, sha256: str) -> None:
        """Every process compares what it sends."""
        self._suspect.add(sha256)

    def _is_whole(self, one: ObjectCopy, sha256: str, size: int, pace: Pace = at_once) -> bool:
        digest, total = hashlib.sha256(), 0
        reading = self._objects.reading(one)
        try:
            for octets in reading:
                pace(len(octets))
                digest.update(octets)
                total += len(octets)
        except ObjectLost:
            return False
        finally:
            reading.close()
        return total == size and digest.hexdigest() == sha256

    def _told(self, sha256: str, call: Callable[..., Answer], *arguments: object) -> Answer:
        try:
            return call(*arguments)
        except ObjectsUnavailable as error:
            raise _unavailable(sha256, error) from error

    # --- objects without a row ---------------------------------------------------------------------------

    async def folders(self) -> list[str]:
        """Those that have objects."""
        return await in_thread(self._told, "", self._objects.folders)

    async def digests(self, folder: str, *, before: float) -> list[str]:
        """The digests of which every object was written before `before`."""
        groups = await self._groups(folder)
        return [sha256 for sha256, copies in groups if all(one.written < before for one in copies)]

    async def _groups(self, folder: str) -> list[tuple[str, list[ObjectCopy]]]:
        return await in_thread(self._told, "", lambda: list(self._objects.groups(folder)))

    async def take_back(self, sha256: str) -> SpooledFile:
        """The newest object, as a file aside."""
        return await in_thread(self._take_back, sha256)

    def _take_back(self, sha256: str) -> SpooledFile:
        copies = self._told(sha256, self._objects.copies, sha256)
        if not copies:
            raise DamagedBlob(sha256)
        reading = self._objects.reading(copies[0])
        try:
            return self._told(sha256, partial(self.copy, reading, max_bytes=copies[0].size))
        except (ObjectLost, TooLong) as error:
            raise DamagedBlob(sha256) from error
        finally:
            reading.close()

    async def tidy(self, folder: str, *, before: float) -> None:
        """Of several objects with the same bytes one that is whole stays, and what is newer than `before`."""
        for sha256, copies in await self._groups(folder):
            old = [one for one in copies if one.written < before]
            if len(copies) < 2 or not old:
                continue
            newest = max(copies, key=lambda one: one.written)
            if await in_thread(self._told, sha256, self._is_whole, newest, sha256, newest.size):
                self._noted.pop(sha256, None)
                for one in old:
                    if one != newest:
                        await self._objects.discard(one.key)

    async def ready(self) -> None:
        """Look at the folder where instances arrive, and at the store where they stay."""
        await super().ready()
        try:
            await self._objects.check()
        except ObjectsUnavailable as error:
            raise StoreUnusable(str(error)) from error


class Sending:
    """An object while it is sent: its bytes are asked for from now on, and the last ones come only when all
    are what was acknowledged.

    `reading` gives the bytes of a copy, `suspect` is called with the digest when they are damaged.

    Raises
    ------
    DamagedBlob, StoreUnavailable
        While it is iterated.
    """

    def __init__(
        self,
        sha256: str,
        size: int,
        reading: Callable[..., Reading],
        suspect: Callable[[str], None],
    ) -> None:
        self._sha256 = sha256
        self._size = size
        self._again = partial(reading, sha256, size, again=True)
        self._suspect = suspect
        self._reading = reading(sha256, size, again=False)
        self._chunks: Iterator[memoryview] | None = None

    def __iter__(self) -> Sending:
        return self

    def __next__(self) -> memoryview:
        try:
            if self._chunks is None:
                return self._begun()
            return next(self._chunks)
        except ObjectLost as error:
            raise DamagedBlob(self._sha256) from error
        except DamagedBlob:
            self._suspect(self._sha256)
            _log.error("an instance showed to be damaged while it was sent", sha256=self._sha256)
            raise
        except ObjectsUnavailable as error:
            raise _unavailable(self._sha256, error) from error

    def _begun(self) -> memoryview:
        try:
            return self._first()
        except (ObjectLost, DamagedBlob):
            # The copy that was noted may have been removed, or be damaged, beside another one.
            self.close()
            self._reading = self._again()
            return self._first()

    def _first(self) -> memoryview:
        self._chunks = checked(self._reading, self._sha256, self._size)
        return next(self._chunks)

    def close(self) -> None:
        """Let go of what was asked for and not taken."""
        self._reading.close()


def _note(where: dict[str, ObjectCopy], sha256: str, one: ObjectCopy) -> None:
    while len(where) >= _MAX_NOTED:
        where.pop(next(iter(where)), None)
    where[sha256] = one


def _unavailable(sha256: str, error: ObjectsUnavailable) -> StoreUnavailable:
    _log.error("the object store cannot be asked", sha256=sha256, reason=str(error))
    return StoreUnavailable(sha256)
