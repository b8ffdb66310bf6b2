"""What arrives: written aside while it is hashed, then synced.

Each process has a folder of its own and holds its lock while it lives. A name there stays until the row of
the instance is committed, so that what a process that died left names exactly the contents that may have no
row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from imaging_source.domain.intake import OUT_OF_RESOURCES, Refused, TooLong
from shared.dicom.part10 import PREAMBLE
from shared.store.folders import lock_file, make_folder
from shared.store.space import space_of

_CHUNK: Final = 1024**2
_LOCK: Final = ".lock"
_PREFIX: Final = b"DICM"
# Files that a process may have open are twice its connections and 256.
_CROWD: Final = 128
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreUnusable(Exception):
    """Contents cannot be kept durably; nothing is accepted until the store's check succeeds again."""


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """A complete, synced file aside; `size` bytes with the hexadecimal `sha256`."""

    path: Path
    size: int
    sha256: str


class Incoming:
    """One file while it arrives; for one thread at a time.

    The preamble is zeroed unless `keep_preamble`: it may hold another format's header, by which the file
    would be two things at once (PS3.10 7.5). What has no prefix behind it is no preamble, and stays.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, folder: IncomingFolder, keep_preamble: bool = False
    ) -> None:
        self.path = path
        self.size = 0
        self._keep_preamble = keep_preamble
        self._head: bytes | None = b""
        self._max_bytes = max_bytes
        self._folder = folder
        self._hash = hashlib.sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        folder.arriving.add(self._descriptor)

    def write(self, octets: bytes | memoryview) -> None:
        """Append `octets`.

        Raises
        ------
        TooLong, Refused
            The instance is too long; out of resources.
        """
        if self.size + len(octets) > self._max_bytes:
            raise TooLong(self._max_bytes)
        self.size += len(octets)
        if self._head is not None:
            octets = self._head + octets
            if len(octets) < PREAMBLE + len(_PREFIX):
                self._head = octets
                return
            self._head = None
            if not self._keep_preamble and octets.startswith(_PREFIX, PREAMBLE):
                octets = bytes(PREAMBLE) + octets[PREAMBLE:]
        self._append(octets)

    def _append(self, octets: bytes | memoryview) -> None:
        self._hash.update(octets)
        rest = memoryview(octets)
        with self._folder.guarded():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> SpooledFile:
        """Sync and close the file."""
        if self._head:
            self._append(self._head)
            self._head = None
        with self._folder.guarded():
            os.fsync(self._descriptor)
        self._close()
        return SpooledFile(self.path, self.size, self._hash.hexdigest())

    def discard(self) -> None:
        """Close and remove the file; harmless after `finish` or when repeated."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            # First: the next file that is opened may have its number.
            self._folder.arriving.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class _Guard:
    """Turns an `OSError` into what a sender is told, and closes the store where durability is in doubt."""

    def __init__(self, folder: IncomingFolder) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _FULL:
            raise Refused(OUT_OF_RESOURCES, "no space is left to keep instances") from error
        # After a failed sync nobody knows what is on the disk: a second one would report success.
        self._folder.unusable = f"writing failed: {os.strerror(error.errno or 0)}"
        raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment") from error


class IncomingFolder:
    """The folder of this process below `shared`, which is made when absent; `shared` may be that of several.

    `keep_preamble` tells to keep what may be the header of another format.
    """

    def __init__(self, shared: Path, *, keep_preamble: bool = False) -> None:
        self._shared = shared
        self._keep_preamble = keep_preamble
        self._checking = threading.Lock()
        #: Descriptors of files that are arriving.
        self.arriving: set[int] = set()
        self.unusable = ""
        make_folder(shared)
        self.incoming = shared / secrets.token_hex(8)
        # The lock first: a folder without one is that of a process which died.
        self._lock = lock_file(_lock_of(self.incoming))
        make_folder(self.incoming)

    def close(self) -> None:
        """Let go of the folder; what is left in it waits for the next start."""
        if self._lock < 0:
            return
        with suppress(OSError):
            self.incoming.rmdir()
            _lock_of(self.incoming).unlink()
        os.close(self._lock)
        self._lock = -1

    def abandoned(self) -> list[AbandonedFolder]:
        """The folders of processes that died, locked; blocks."""
        folders = [path for path in sorted(self._shared.iterdir()) if path.is_dir()]
        others = [path for path in folders if path != self.incoming]
        locked = [AbandonedFolder(path, lock) for path in others if (lock := _lock_if_dead(path)) >= 0]
        # An older release had one process, which put its files here.
        return [*locked, AbandonedFolder(self._shared, -1)]

    @property
    def is_crowded(self) -> bool:
        """Whether so many files are arriving that what is complete should be kept at once: each is open."""
        return len(self.arriving) >= _CROWD

    def guarded(self) -> _Guard:
        """A context in which an `OSError` becomes `Refused`, out of resources."""
        return _Guard(self)

    def admit(self, expected_bytes: int) -> None:
        """Refuse at once what is announced to be longer than the free space, or while the store is unusable.

        Raises
        ------
        Refused
            Out of resources.
        """
        if self.unusable:
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment")
        if expected_bytes > space_of(self._shared).free_bytes:
            raise Refused(OUT_OF_RESOURCES, "no space is left to keep instances")

    def new(self, *, max_bytes: int) -> Incoming:
        """A file to write into; raises `Refused`, out of resources, when it cannot be made."""
        return self._new(max_bytes, keep_preamble=self._keep_preamble)

    def raw(self, *, max_bytes: int) -> Incoming:
        """As `new`, for bytes that are no Part 10 file and are taken as they are."""
        return self._new(max_bytes, keep_preamble=True)

    def _new(self, max_bytes: int, *, keep_preamble: bool) -> Incoming:
        self.admit(0)
        with self.guarded():
            return Incoming(self.aside(), max_bytes=max_bytes, folder=self, keep_preamble=keep_preamble)

    def aside(self) -> Path:
        """A new name in the folder."""
        return self.incoming / secrets.token_hex(16)

    def with_meta(self, spooled: SpooledFile, meta: bytes, data_set_offset: int) -> SpooledFile:
        """`spooled` with `meta` in front of its data set, durably and in its place.

        Raises
        ------
        Refused
            Out of resources.
        """
        incoming = self.new(max_bytes=len(meta) + spooled.size)
        try:
            incoming.write(meta)
            with spooled.path.open("rb") as file:
                file.seek(data_set_offset)
                while piece := file.read(_CHUNK):
                    incoming.write(piece)
            made = incoming.finish()
        except BaseException:
            incoming.discard()
            raise
        made.path.replace(spooled.path)
        return replace(made, path=spooled.path)

    def copy(self, octets: Iterator[bytes | memoryview], *, max_bytes: int) -> SpooledFile:
        """What was kept elsewhere, as it is, as if it had just arrived; blocks.

        Raises
        ------
        Refused, TooLong
            Out of resources; it is longer than `max_bytes`.
        """
        incoming = self._new(max_bytes, keep_preamble=True)
        try:
            for piece in octets:
                incoming.write(piece)
            return incoming.finish()
        except BaseException:
            incoming.discard()
            raise

    def check(self) -> None:
        """Write, sync and read a file; success makes an unusable store usable again.

        Raises
        ------
        StoreUnusable
            With the reason, for readiness and the log.
        """
        if (space := space_of(self._shared)).is_short:
            raise StoreUnusable(f"less than {space.reserved_bytes / 1024**3:.2g} GiB of the disk are free")
        with self._checking:
            try:
                self._probe()
            except OSError as error:
                self.unusable = f"writing failed: {os.strerror(error.errno or 0)}"
                raise StoreUnusable(self.unusable) from error
            self.unusable = ""

    def _probe(self) -> None:
        path = self.incoming.with_suffix(".probe")
        octets = secrets.token_bytes(64)
        with path.open("wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != octets:
            raise OSError(errno.EIO, "other bytes were read than written")
        path.unlink()


class AbandonedFolder:
    """What a process that died was receiving or committing; its lock is ours until `remove`."""

    def __init__(self, path: Path, lock: int) -> None:
        self._path = path
        self._lock = lock

    def files(self) -> list[SpooledFile]:
        """The files, complete or not; blocks."""
        paths = (path for path in sorted(self._path.iterdir()) if path.is_file())
        return [spooled(path) for path in paths if path.suffix not in (_LOCK, ".probe")]

    def remove(self) -> None:
        """Forget the folder; its files are gone."""
        if self._lock >= 0:
            shutil.rmtree(self._path, ignore_errors=True)
            _lock_of(self._path).unlink(missing_ok=True)
            os.close(self._lock)


def _lock_of(folder: Path) -> Path:
    return folder.with_suffix(_LOCK)


def _lock_if_dead(folder: Path) -> int:
    try:
        lock = lock_file(_lock_of(folder))
    except BlockingIOError:
        return -1
    if folder.is_dir():
        return lock
    # Somebody else has just taken care of it.
    _lock_of(folder).unlink(missing_ok=True)
    os.close(lock)
    return -1


def durable(path: Path) -> SpooledFile:
    """A complete file aside, synced; reads all of it."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return spooled(path)


def spooled(path: Path) -> SpooledFile:
    """A complete file aside; reads all of it."""
    with path.open("rb") as file:
        return SpooledFile(path, os.fstat(file.fileno()).st_size, digest_of(file))


def digest_of(file: BinaryIO, pace: Callable[[int], None] = lambda count: None) -> str:
    """The SHA-256 of a file from where it stands; `pace` is called with the number of bytes of each piece."""
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK):
        pace(len(piece))
        digest.update(piece)
    return digest.hexdigest()
