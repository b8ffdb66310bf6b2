"""The durable spool: audit messages wait on disk until the repository has them (ITI TF-2 3.20).

Append-only segment files below one folder, a cursor that says how far delivery has come, and a lock: one
process owns a spool. Every batch is one write and one sync. A segment goes when all of it is delivered.
"""

from __future__ import annotations

import asyncio
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from shared.audit import segments
from shared.errors import OutOfResources
from shared.settings import OnFull
from shared.store.folders import lock_file, make_folder, sync
from shared.store.writer import GroupWriter, WriterClosed
from shared.telemetry.log import logger

_log = logger(__name__)

SEGMENT_BYTES = 16 * 1024**2
READ_BYTES = 4 * 1024**2
ALARM = 0.7
_FULL = "the audit spool is full"
# A drained segment is left for a new one once it is worth it.
_WORN_BYTES = 1024**2
_CURSOR = struct.Struct("!QI")


class AuditUnavailable(OutOfResources):
    """An event cannot be kept, so that what it describes must not be done."""


@dataclass(slots=True)
class _Segment:
    path: Path
    first: int
    size: int


class Spool:
    """Messages in the order in which they were put, at least once each to whoever reads.

    `next`, `done` and `rewind` are for one reader. Sequence numbers grow and may have gaps.

    Parameters
    ----------
    max_bytes
        Most that the files may take, and what waits in outbox tables with them.
    on_full
        `block`: `put` refuses. `drop-oldest-with-record`: the oldest segment goes, a message says so.
    lost
        Makes the message that says how many were lost, and why.

    Raises
    ------
    AuditUnavailable
        The folder cannot be used, or another process has it.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int, on_full: OnFull, lost: Callable[[int, str], bytes]
    ) -> None:
        self._folder = self.folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = min(SEGMENT_BYTES, max_bytes // 8)
        self._on_full = on_full
        self._lost = lost
        self._state = threading.Lock()
        self._elsewhere = 0
        self._failure = ""
        self._lost_since_start = 0
        self._filling = False
        try:
            make_folder(folder)
            self._lock = _locked(folder / "lock")
            self._cursor_file = os.open(folder / "cursor", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._cursor = _read_cursor(self._cursor_file)
            self._segments = [_Segment(p, int(p.stem), p.stat().st_size) for p in _paths(folder)]
            self._next_sequence = self._recover()
        except OSError as error:
            raise AuditUnavailable(f"the audit spool cannot be opened: {error.strerror or error}") from error
        self._active = -1
        self._damaged_tails: dict[int, bool] = {}  # first sequence of the segment, whether reported
        self._reading: tuple[int, int] = (0, 0)  # (first sequence of the segment, offset)
        self._read = self._reported = self._cursor
        self._writer: GroupWriter[tuple[bytes, ...], None] = GroupWriter(self._write, name="audit-spool")

    # --- the side that records -----------------------------------------------------------------------

    async def put(self, *messages: bytes) -> None:
        """Keep `messages` together; they are on disk when this returns.

        Raises
        ------
        AuditUnavailable
            The spool is full and may not drop, or the disk refuses.
        """
        try:
            await self._writer.put(messages)
        except WriterClosed:
            raise AuditUnavailable("the audit spool is closed") from None

    def admit(self, octets: int) -> None:
        """Count octets that will wait in an outbox table; for any thread.

        Raises
        ------
        AuditUnavailable
            Too much waits already, and nothing may be dropped.
        """
        with self._state:
            if self._on_full is OnFull.BLOCK and self._bytes() + self._elsewhere + octets > self._max_bytes:
                raise AuditUnavailable(_FULL)
            self._elsewhere += octets
        self._watch_fill()

    def count_elsewhere(self, octets: int) -> int:
        """Take note of what outbox tables hold; how much of it has to go, where the oldest may be dropped.

        Half of the bound is theirs, whatever the files take, and the other half is the files'.
        """
        with self._state:
            self._elsewhere = octets
            room = max(self._max_bytes - self._bytes(), self._max_bytes // 2)
        return max(0, octets - room) if self._on_full is OnFull.DROP else 0

    @property
    def fill(self) -> float:
        """Share of `max_bytes` in use, by files and outbox tables."""
        with self._state:
            return (self._bytes() + self._elsewhere) / self._max_bytes

    @property
    def waiting(self) -> int:
        """Messages that are not yet done, at most."""
        with self._state:
            return self._next_sequence - 1 - self._cursor

    async def check(self) -> None:
        """Raise `AuditUnavailable` unless the next message can be kept; tries the disk after a failure."""
        if self._failure:
            # An empty message is a trial that no reader sees.
            await self.put(b"")
        if self._on_full is OnFull.BLOCK and self.fill >= 1 - 1 / 64:
            raise AuditUnavailable("the audit spool is full; the audit repository must be reached again")

    async def close(self) -> None:
        """Carry out what was put, then give the folder free."""
        await self._writer.close()
        for descriptor in (self._active, self._cursor_file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._active = -1

    # --- the side that sends -------------------------------------------------------------------------

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` messages that were not read before, as (sequence, octets), in order."""
        messages: list[tuple[int, bytes]] = []
        while not messages and (frames := await asyncio.to_thread(self._next, most)):
            await self._report_damage(frames)
            messages = [(item.sequence, item.octets) for item in frames if item.octets]
        return messages

    async def done(self, sequences: Sequence[int]) -> None:
        """These messages, and all before them, need not be kept."""
        if sequences:
            await asyncio.to_thread(self._done, max(sequences))

    def rewind(self) -> None:
        """Read again from the first message that is not done."""
        with self._state:
            self._read, self._reading = self._cursor, (0, 0)

    def _next(self, most: int) -> list[segments.Frame]:
        with self._state:
            all_segments = [(segment.path, segment.first, segment.size) for segment in self._segments]
            read, (first, offset) = self._read, self._reading
        for path, begins, size in all_segments:
            at = offset if begins == first else 0
            while begins >= first and at < size:
                try:
                    frames = segments.read(path, at, size, most=most, most_bytes=READ_BYTES)
                except FileNotFoundError:
                    break  # dropped meanwhile
                if not frames:
                    self._damaged_tails.setdefault(begins, False)
                    break
                at = frames[-1].end
                if fresh := [item for item in frames if item.sequence > read]:
                    with self._state:
                        if self._read == read:  # nobody rewound
                            self._read, self._reading = fresh[-1].sequence, (begins, at)
                    return fresh
        return []

    async def _report_damage(self, frames: list[segments.Frame]) -> None:
        lost = 0
        for item in frames:
            if item.skipped and item.sequence > self._reported:
                lost += max(1, item.sequence - self._reported - 1)
            self._reported = max(self._reported, item.sequence)
        for begins, reported in self._damaged_tails.items():
            if not reported:
                self._damaged_tails[begins] = True
                lost += 1
        if lost:
            _log.error("audit records were damaged on disk", number=lost)
            with suppress(AuditUnavailable):
                await self.put(self._lost(lost, "damaged on disk before they were sent"))

    def _done(self, upto: int) -> None:
        with self._state:
            self._cursor = max(self._cursor, upto)
            octets = struct.pack("!Q", self._cursor)
        # A cursor that is lost costs duplicates and no message, but segments go only after it is durable.
        os.pwrite(self._cursor_file, octets + struct.pack("!I", crc32(octets)), 0)
        os.fdatasync(self._cursor_file)
        self._remove_drained()

    def _remove_drained(self) -> None:
        with self._state:
            following = zip(self._segments, self._segments[1:], strict=False)
            drained = [one for one, after in following if after.first <= self._cursor + 1]
            del self._segments[: len(drained)]
        for segment in drained:
            segment.path.unlink(missing_ok=True)

    # --- in the writer's thread ----------------------------------------------------------------------

    def _write(self, batch: Sequence[tuple[bytes, ...]]) -> list[Exception | None]:
        results: list[Exception | None] = []
        written: list[bytes] = []
        size, sequence = 0, self._next_sequence
        for messages in batch:
            needed = sum(len(message) + segments.OVERHEAD for message in messages)
            lost = self._make_room(size + needed)
            if not self._fits(size + needed):
                results.append(AuditUnavailable(_FULL))
                messages = ()
            else:
                results.append(None)
            for message in (*lost, *messages):
                written.append(segments.frame(sequence, message))
                size += len(written[-1])
                sequence += 1
        if written:
            first, self._next_sequence = self._next_sequence, sequence
            self._append(b"".join(written), first)
        return results

    def _append(self, octets: bytes, first: int) -> None:
        try:
            segment = self._segment_for(first, len(octets))
            _write_all(self._active, octets, segment.size)
            os.fdatasync(self._active)
        except OSError as error:
            self._failure = error.strerror or str(error)
            self._abandon()
            _log.error("the audit spool cannot be written", reason=self._failure)
            raise AuditUnavailable("the audit spool cannot be written") from error
        self._failure = ""
        with self._state:
            segment.size += len(octets)
        self._watch_fill()

    def _watch_fill(self) -> None:
        filling = self.fill >= ALARM
        if filling and not self._filling:
            _log.error("the audit spool fills up; is the audit repository reached?", fill=round(self.fill, 2))
        self._filling = filling

    def _segment_for(self, first: int, size: int) -> _Segment:
        with self._state:
            active = self._segments[-1] if self._active >= 0 else None
            drained = (
                active is not None
                and self._cursor >= first - 1
                and active.size >= min(_WORN_BYTES, self._segment_bytes)
            )
        if (
            active is not None
            and not drained
            and (not active.size or active.size + size <= self._segment_bytes)
        ):
            return active
        if self._active >= 0:
            os.close(self._active)
            self._active = -1
        segment = _Segment(self._folder / f"{first:020d}.segment", first, 0)
        self._active = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_TRUNC, 0o600)
        with self._state:
            self._segments.append(segment)
        sync(self._folder)
        return segment

    def _abandon(self) -> None:
        # After a failed sync nobody knows what is on disk: the file is cut to what was acknowledged, and not
        # written again. Its sequence numbers are not used again either.
        if self._active < 0:
            return
        with self._state:
            segment = self._segments[-1]
            if not segment.size:
                self._segments.pop()
        with suppress(OSError):
            os.ftruncate(self._active, segment.size)
        with suppress(OSError):
            os.close(self._active)
        if not segment.size:
            with suppress(OSError):
                segment.path.unlink()
        self._active = -1

    def _fits(self, size: int) -> bool:
        with self._state:
            elsewhere = self._elsewhere
            if self._on_full is OnFull.DROP:
                elsewhere = min(elsewhere, self._max_bytes // 2)
            return self._bytes() + elsewhere + size <= self._max_bytes

    def _make_room(self, size: int) -> list[bytes]:
        """Remove what may go; the message that tells of it, if there is anything to tell."""
        if self._fits(size):
            return []
        self._remove_drained()
        lost = 0
        while self._on_full is OnFull.DROP and len(self._segments) > 1 and not self._fits(size):
            lost += self._drop_oldest()
        return [self._lost_to(lost)] if lost else []

    def _lost_to(self, number: int) -> bytes:
        _log.error("the audit spool is full; the oldest records were dropped", number=number)
        # The number since the start too: a record of loss may be dropped itself, the newest never is.
        self._lost_since_start += number
        total = f"{self._lost_since_start} since the service started"
        return self._lost(number, f"the spool was full and its oldest segment was dropped ({total})")

    def _drop_oldest(self) -> int:
        with self._state:
            segment = self._segments.pop(0)
            cursor = self._cursor
        frames = segments.read(segment.path, 0, segment.size, most=segment.size, most_bytes=segment.size)
        segment.path.unlink(missing_ok=True)
        return sum(1 for item in frames if item.sequence > cursor)

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _recover(self) -> int:
        """Cut what a crash left behind the last whole message; returns the next sequence number."""
        newest = self._cursor
        if self._segments:
            segment = self._segments[-1]
            frame = segments.last(segment.path)
            newest = max(newest, segment.first - 1, frame.sequence if frame else 0)
            if torn := segment.size - (frame.end if frame else 0):
                _log.warning("an unfinished record was cut from the audit spool", octets=torn)
            segment.size -= torn
            descriptor = os.open(segment.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, segment.size)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if not segment.size:
                segment.path.unlink()
                self._segments.pop()
        return newest + 1


def _paths(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.glob("*.segment")))


def _locked(path: Path) -> int:
    try:
        return lock_file(path)
    except BlockingIOError:
        raise AuditUnavailable(f"another process uses the audit spool {path.parent}") from None


def _read_cursor(descriptor: int) -> int:
    octets = os.pread(descriptor, _CURSOR.size, 0)
    if len(octets) < _CURSOR.size:
        return 0
    sequence, checksum = _CURSOR.unpack(octets)
    return sequence if crc32(octets[:8]) == checksum else 0


def _write_all(descriptor: int, octets: bytes, offset: int) -> None:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
