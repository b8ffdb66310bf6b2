"""The durable spool: audit messages wait on disk until every repository has them (ITI TF-2 3.20).

Append-only segment files below one folder, for each destination a cursor that says how far delivery to it has
come, and a lock: one process owns a spool. Every batch is one write and one sync. A segment goes when all of
it is delivered everywhere.
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
#: The file of a destination's cursor; and that of an older release.
_CURSOR_OF = "cursor-{}"
_CURSOR_OF_ONE = "cursor"


class AuditUnavailable(OutOfResources):
    """An event cannot be kept, so that what it describes must not be done."""


@dataclass(slots=True)
class _Segment:
    path: Path
    first: int
    size: int


class SpoolReader:
    """What one destination has had of a spool, and what it gets next; for one task.

    `begin` is where it begins when it has no cursor yet.
    """

    def __init__(self, spool: Spool, file: Path, begin: int = 0) -> None:
        self._spool = spool
        self._path = file
        is_new = not file.exists()
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.cursor = begin if is_new else _cursor_in(os.pread(self._file, _CURSOR.size, 0))
        self._damaged_tails: dict[int, bool] = {}  # first sequence of the segment, whether reported
        self._reading: tuple[int, int] = (0, 0)  # (first sequence of the segment, offset)
        self._read = self._reported = self.cursor
        if is_new:
            self._keep_cursor()
            sync(file.parent)

    @property
    def place(self) -> str:
        """Where the messages wait."""
        return "spool"

    async def next(self, most: int) -> list[tuple[int, bytes]]:
        """Up to `most` messages that were not read before, as (sequence, octets), in order."""
        messages: list[tuple[int, bytes]] = []
        while not messages and (frames := await asyncio.to_thread(self._next, most)):
            await self._report_damage(frames)
            messages = [(item.sequence, item.octets) for item in frames if item.octets]
        return messages

    async def done(self, sequences: Sequence[int]) -> None:
        """These messages, and all before them, need not be kept for this destination."""
        if sequences:
            await asyncio.to_thread(self._done, max(sequences))

    def rewind(self) -> None:
        """Read again from the first message that is not done."""
        with self._spool.state:
            self._read, self._reading = self.cursor, (0, 0)

    def close(self) -> None:
        """Read no more."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def forget(self) -> None:
        """Read no more, and never again."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _next(self, most: int) -> list[segments.Frame]:
        with self._spool.state:
            all_segments = self._spool.known()
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
                    with self._spool.state:
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
            await self._spool.damaged(lost)

    def _done(self, upto: int) -> None:
        with self._spool.state:
            self.cursor = max(self.cursor, upto)
        # A cursor that is lost costs duplicates and no message, but segments go only after it is durable.
        self._keep_cursor()
        self._spool.release()

    def _keep_cursor(self) -> None:
        octets = struct.pack("!Q", self.cursor)
        os.pwrite(self._file, octets + struct.pack("!I", crc32(octets)), 0)
        os.fdatasync(self._file)


class Spool:
    """Messages in the order in which they were put, at least once each to every reader.

    Sequence numbers grow and may have gaps.

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
        self.state = threading.Lock()
        self._elsewhere = 0
        self._failure = ""
        self._lost_since_start = 0
        self._filling = False
        try:
            make_folder(folder)
            self._lock = _locked(folder / "lock")
            self._first_cursor = _older_cursor(folder)
            self._readers = {
                name: SpoolReader(self, folder / _CURSOR_OF.format(name)) for name in _names(folder)
            }
            self._segments = [_Segment(p, int(p.stem), p.stat().st_size) for p in _paths(folder)]
            self._next_sequence = self._recover()
        except OSError as error:
            raise AuditUnavailable(f"the audit spool cannot be opened: {error.strerror or error}") from error
        self._active = -1
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
        with self.state:
            if self._on_full is OnFull.BLOCK and self._bytes() + self._elsewhere + octets > self._max_bytes:
                raise AuditUnavailable(_FULL)
            self._elsewhere += octets
        self._watch_fill()

    def count_elsewhere(self, octets: int) -> int:
        """Take note of what outbox tables hold; how much of it has to go, where the oldest may be dropped.

        Half of the bound is theirs, whatever the files take, and the other half is the files'.
        """
        with self.state:
            self._elsewhere = octets
            room = max(self._max_bytes - self._bytes(), self._max_bytes // 2)
        return max(0, octets - room) if self._on_full is OnFull.DROP else 0

    @property
    def fill(self) -> float:
        """Share of `max_bytes` in use, by files and outbox tables."""
        with self.state:
            return (self._bytes() + self._elsewhere) / self._max_bytes

    @property
    def waiting(self) -> int:
        """Messages that are not yet done everywhere, at most."""
        with self.state:
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
        for reader in self._readers.values():
            reader.close()
        for descriptor in (self._active, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._active = -1

    # --- the side that sends -------------------------------------------------------------------------

    def reader(self, name: str) -> SpoolReader:
        """Who reads for the destination `name`; a new one begins with what is not done everywhere yet."""
        if name not in self._readers:
            file = self.folder / _CURSOR_OF.format(name)
            self._readers[name] = SpoolReader(self, file, self._cursor)
        return self._readers[name]

    def readers(self, names: Sequence[str]) -> list[SpoolReader]:
        """Who reads for each of the destinations `names`; what others have not had is owed to nobody."""
        readers = [self.reader(name) for name in names]
        for other in self._readers.keys() - set(names):
            self._readers.pop(other).forget()
        (self.folder / _CURSOR_OF_ONE).unlink(missing_ok=True)
        self.release()
        return readers

    @property
    def _cursor(self) -> int:
        """Up to where all messages are done everywhere."""
        return min((reader.cursor for reader in self._readers.values()), default=self._first_cursor)

    def known(self) -> list[tuple[Path, int, int]]:
        """Path, first sequence and size of each segment; to be asked with `state` held."""
        return [(segment.path, segment.first, segment.size) for segment in self._segments]

    async def damaged(self, number: int) -> None:
        """Tell that messages are damaged on disk and will not be read."""
        _log.error("audit records were damaged on disk", number=number)
        with suppress(AuditUnavailable):
            await self.put(self._lost(number, "damaged on disk before they were sent"))

    def release(self) -> None:
        """Remove what is done everywhere."""
        with self.state:
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
        with self.state:
            segment.size += len(octets)
        self._watch_fill()

    def _watch_fill(self) -> None:
        filling = self.fill >= ALARM
        if filling and not self._filling:
            _log.error("the audit spool fills up; is the audit repository reached?", fill=round(self.fill, 2))
        self._filling = filling

    def _segment_for(self, first: int, size: int) -> _Segment:
        with self.state:
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
        with self.state:
            self._segments.append(segment)
        sync(self._folder)
        return segment

    def _abandon(self) -> None:
        # After a failed sync nobody knows what is on disk: the file is cut to what was acknowledged, and not
        # written again. Its sequence numbers are not used again either.
        if self._active < 0:
            return
        with self.state:
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
        with self.state:
            elsewhere = self._elsewhere
            if self._on_full is OnFull.DROP:
                elsewhere = min(elsewhere, self._max_bytes // 2)
            return self._bytes() + elsewhere + size <= self._max_bytes

    def _make_room(self, size: int) -> list[bytes]:
        """Remove what may go; the message that tells of it, if there is anything to tell."""
        if self._fits(size):
            return []
        self.release()
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
        with self.state:
            segment = self._segments.pop(0)
            cursor = self._cursor
        frames = segments.read(segment.path, 0, segment.size, most=segment.size, most_bytes=segment.size)
        segment.path.unlink(missing_ok=True)
        return sum(1 for item in frames if item.sequence > cursor)

    def _bytes(self) -> int:
        return sum(segment.size for segment in self._segments)

    def _recover(self) -> int:
        """Cut what a crash left behind the last whole message; returns the next sequence number."""
        # What comes next must be new to every reader.
        newest = max((reader.cursor for reader in self._readers.values()), default=self._first_cursor)
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


def _names(folder: Path) -> list[str]:
    """The destinations that have cursors."""
    beginning = _CURSOR_OF.format("")
    return [path.name.removeprefix(beginning) for path in folder.glob(f"{beginning}*")]


def _older_cursor(folder: Path) -> int:
    """How far an older release had come, which knew one destination."""
    try:
        return _cursor_in((folder / _CURSOR_OF_ONE).read_bytes())
    except FileNotFoundError:
        return 0


def _cursor_in(octets: bytes) -> int:
    if len(octets) < _CURSOR.size:
        return 0
    sequence, checksum = _CURSOR.unpack(octets[: _CURSOR.size])
    return sequence if crc32(octets[:8]) == checksum else 0


def _write_all(descriptor: int, octets: bytes, offset: int) -> None:
    view = memoryview(octets)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
