"""Files of instances: written aside while they are hashed, synced, then linked to a name made of their hash.

A name in `incoming` stays until the row of the instance is committed, so that what a crash leaves there names
exactly the files that may have no row. Acknowledged is what is synced, linked and committed (limits,
decisions 1 and 9).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from imaging_source.domain.intake import OUT_OF_RESOURCES, Refused, TooLong
from shared.dicom.part10 import PREAMBLE
from shared.store.folders import make_folder, sync

_CHUNK: Final = 1024**2
_PREFIX: Final = b"DICM"
_LEAST_FREE: Final = 0.05
# What is known of so many files that were read; about 300 bytes each.
_MAX_PROOFS: Final = 100_000
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


# Inode, size, and when the content and the inode were last changed.
_Identity = tuple[int, int, int, int]


class StoreUnusable(Exception):
    """Files cannot be kept durably; nothing is accepted until the store's check succeeds again."""


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
        self, path: Path, *, max_bytes: int, files: ContentFiles, keep_preamble: bool = False
    ) -> None:
        self.path = path
        self.size = 0
        self._keep_preamble = keep_preamble
        self._head: bytes | None = b""
        self._max_bytes = max_bytes
        self._files = files
        self._hash = hashlib.sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, octets: bytes) -> None:
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

    def _append(self, octets: bytes) -> None:
        self._hash.update(octets)
        rest = memoryview(octets)
        with self._files.guarded():
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> SpooledFile:
        """Sync and close the file."""
        if self._head:
            self._append(self._head)
            self._head = None
        with self._files.guarded():
            os.fsync(self._descriptor)
        self._close()
        return SpooledFile(self.path, self.size, self._hash.hexdigest())

    def discard(self) -> None:
        """Close and remove the file; harmless after `finish` or when repeated."""
        self._close()
        self.path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class _Guard:
    """Turns an `OSError` into what a sender is told, and closes the store where durability is in doubt."""

    def __init__(self, files: ContentFiles) -> None:
        self._files = files

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, OSError):
            return
        if error.errno in _FULL:
            raise Refused(OUT_OF_RESOURCES, "no space is left to keep instances") from error
        # After a failed sync nobody knows what is on the disk: a second one would report success.
        self._files.unusable = f"writing failed: {os.strerror(error.errno or 0)}"
        raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment") from error


class ContentFiles:
    """The files of all instances below one folder, which is made when absent.

    `keep_preamble` tells to keep what may be the header of another format.
    """

    def __init__(self, folder: Path, *, keep_preamble: bool = False) -> None:
        self.folder = folder.resolve()
        self._keep_preamble = keep_preamble
        self.unusable = ""
        self._incoming = self.folder / "incoming"
        make_folder(self._incoming)
        self._lock = threading.Lock()
        self._proofs: dict[str, tuple[_Identity, bool]] = {}
        for number in range(256):
            (self.folder / f"{number:02x}").mkdir(exist_ok=True)
        sync(self.folder)

    def guarded(self) -> _Guard:
        """A context in which an `OSError` becomes `Refused`, out of resources."""
        return _Guard(self)

    def path(self, sha256: str) -> Path:
        """Where a file with this hash is, or would be."""
        return Path(self.name(sha256))

    def name(self, sha256: str) -> str:
        """`path` as text."""
        return f"{self.folder}/{sha256[:2]}/{sha256}.dcm"

    def admit(self, expected_bytes: int) -> None:
        """Refuse at once what is announced to be longer than the free space, or while the store is unusable.

        Raises
        ------
        Refused
            Out of resources.
        """
        if self.unusable:
            raise Refused(OUT_OF_RESOURCES, "instances cannot be kept at the moment")
        if expected_bytes > self._free()[0]:
            raise Refused(OUT_OF_RESOURCES, "no space is left to keep instances")

    def new(self, *, max_bytes: int) -> Incoming:
        """A file to write into; raises `Refused`, out of resources, when it cannot be made."""
        self.admit(0)
        with self.guarded():
            return Incoming(
                self._incoming / secrets.token_hex(16),
                max_bytes=max_bytes,
                files=self,
                keep_preamble=self._keep_preamble,
            )

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

    def place(self, spooled: SpooledFile) -> Path:
        """Give a synced file its final name, durably; what stands there already may be damaged, and goes."""
        final = self.path(spooled.sha256)
        with self.guarded():
            try:
                final.hardlink_to(spooled.path)
            except FileExistsError:
                self._replace(final, spooled)
            sync(final.parent)
        return final

    def _replace(self, final: Path, spooled: SpooledFile) -> None:
        aside = self._incoming / secrets.token_hex(16)
        aside.hardlink_to(spooled.path)
        aside.rename(final)
        # Of two names for one file the rename leaves both (POSIX).
        aside.unlink(missing_ok=True)

    def release(self, spooled: SpooledFile) -> None:
        """Remove the name aside. A file that was placed counts as proved: it was hashed as it was written."""
        try:
            before = spooled.path.stat()
            spooled.path.unlink()
            after = self.path(spooled.sha256).stat()
        except FileNotFoundError:
            return
        if _written(before) == _written(after):
            self._note(spooled.sha256, _identity(after), whole=True)

    # --- proof ---------------------------------------------------------------------------------------

    def is_proved(self, file: str, sha256: str, size: int) -> bool:
        """Whether the file was found whole by this process and was not touched since; one call of stat.

        `file` is its `name`.
        """
        try:
            status = os.stat(file)  # noqa: PTH116  # a Path costs as much as the call
        except OSError:
            return False
        return status.st_size == size and self._proofs.get(sha256) == (_identity(status), True)

    def prove(self, sha256: str, size: int, *, pace: Callable[[int], None] = lambda count: None) -> bool:
        """Whether the file is there with the bytes that were acknowledged; reads all of it.

        `pace` is called with the number of bytes of each piece.
        """
        try:
            with self.path(sha256).open("rb") as file:
                status = os.fstat(file.fileno())
                whole = status.st_size == size and _digest(file, pace) == sha256
        except OSError:
            return False
        self._note(sha256, _identity(status), whole=whole)
        return whole

    def is_whole(self, sha256: str, size: int) -> bool:
        """As `prove`, which reads a file only when it was not read since it was last touched."""
        try:
            status = self.path(sha256).stat()
        except OSError:
            return False
        identity, whole = self._proofs.get(sha256, (None, False))
        return whole if identity == _identity(status) else self.prove(sha256, size)

    def distrust(self, sha256: str) -> None:
        """Let whoever proved the file before prove it again, in other processes too."""
        with suppress(OSError):
            os.utime(self.path(sha256))

    def _note(self, sha256: str, identity: _Identity, *, whole: bool) -> None:
        with self._lock:
            while len(self._proofs) >= _MAX_PROOFS:
                self._proofs.pop(next(iter(self._proofs)))
            self._proofs[sha256] = (identity, whole)

    def digests(self, prefix: int, *, before: float) -> list[str]:
        """The digests of the files in one of the 256 folders that were written before `before`, in seconds
        since 1970."""
        with os.scandir(self.folder / f"{prefix:02x}") as entries:
            return sorted(
                entry.name.removesuffix(".dcm")
                for entry in entries
                if entry.name.endswith(".dcm") and entry.stat().st_mtime < before
            )

    def take_back(self, sha256: str) -> SpooledFile:
        """A file without a row as if it had just arrived; raises `OSError`."""
        aside = self._incoming / secrets.token_hex(16)
        aside.hardlink_to(self.path(sha256))
        return _spooled(aside)

    def doubt(self, spooled: SpooledFile) -> None:
        """Keep the name aside of a placed file of which nobody knows whether it has a row; once for each."""
        spooled.path.replace(self._incoming / spooled.sha256)

    def remove(self, sha256: str) -> None:
        """Remove a file that no row refers to."""
        self.path(sha256).unlink(missing_ok=True)

    def leftovers(self) -> Iterator[SpooledFile]:
        """What a process that died was receiving or committing; for the start, before anything arrives."""
        yield from map(_spooled, sorted(self._incoming.iterdir()))

    def check(self) -> None:
        """Write, sync and read a file; success makes an unusable store usable again.

        Raises
        ------
        StoreUnusable
            With the reason, for readiness and the log.
        """
        free, total = self._free()
        if free < total * _LEAST_FREE:
            raise StoreUnusable(f"less than {_LEAST_FREE:.0%} of the disk is free")
        with self._lock:
            try:
                self._probe()
            except OSError as error:
                self.unusable = f"writing failed: {os.strerror(error.errno or 0)}"
                raise StoreUnusable(self.unusable) from error
            self.unusable = ""

    def _probe(self) -> None:
        path = self.folder / "probe"
        octets = secrets.token_bytes(64)
        with path.open("wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        if path.read_bytes() != octets:
            raise OSError(errno.EIO, "other bytes were read than written")

    def _free(self) -> tuple[int, int]:
        space = os.statvfs(self.folder)
        return space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize


def _written(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _identity(status: os.stat_result) -> _Identity:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _spooled(path: Path) -> SpooledFile:
    with path.open("rb") as file:
        return SpooledFile(path, os.fstat(file.fileno()).st_size, _digest(file))


def _digest(file: BinaryIO, pace: Callable[[int], None] = lambda count: None) -> str:
    digest = hashlib.sha256()
    while piece := file.read(_CHUNK):
        pace(len(piece))
        digest.update(piece)
    return digest.hexdigest()
