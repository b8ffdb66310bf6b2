"""The disk as it may be after the power went: what was synced, and of the rest what chance lets survive.

The model is stricter than usual file systems. What is written to a file is on disk when the file was synced
after it; a name in a folder, made or removed, when that folder was. Anything else may be there or not: of a
file any of its pages, of a folder's changes the first so many.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.support.repository_rig import compiled

_HEAD = struct.Struct("=BQQqII")
_PAGE = 4096


class Survives(StrEnum):
    """What becomes of what was not synced."""

    NOTHING = "nothing"
    SOME = "some"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Record:
    """One call of a process (recorded_io.c); `time` is that of `time.monotonic_ns`."""

    operation: str
    time: int
    inode: int
    offset: int
    first: str
    second: bytes


class RecordedIo:
    """Records what processes do below `below` that are started with `environment`."""

    def __init__(self, folder: Path, below: Path) -> None:
        self.log = folder / "recorded-io"
        self.log.touch()
        self.below = below
        self.environment = {
            "LD_PRELOAD": str(compiled(folder, "recorded_io")),
            "RECORDED_IO_LOG": str(self.log),
            "RECORDED_IO_FOLDER": str(below),
        }

    def records(self) -> list[Record]:
        """All records, in their order."""
        return list(_records(self.log.read_bytes()))


def _records(octets: bytes) -> Iterator[Record]:
    at = 0
    while at < len(octets):
        operation, time, inode, offset, first, second = _HEAD.unpack_from(octets, at)
        at += _HEAD.size
        texts = octets[at : at + first], octets[at + first : at + first + second]
        at += first + second
        yield Record(chr(operation), time, inode, offset, texts[0].decode(), texts[1])


# --- the disk ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    """`pending` are writes (offset, octets) and truncations (size, None) that no sync has covered."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    _settled: int = 0

    def so_far(self) -> int:
        return self._settled + len(self.pending)

    def sync(self, so_far: int) -> None:
        number = max(0, so_far - self._settled)
        for change in self.pending[:number]:
            _apply(self.durable, *change)
        del self.pending[:number]
        self._settled += number

    def after(self, survives: Survives) -> bytes:
        content = bytearray(self.durable)
        for at, octets in self.pending if survives is not Survives.NOTHING else ():
            if survives is Survives.ALL or octets is None:
                if survives is Survives.ALL or random.random() < 0.5:
                    _apply(content, at, octets)
                continue
            for start, page in _pages(at, octets):
                if random.random() < 0.5:
                    _apply(content, start, page)
        return bytes(content)


def _apply(content: bytearray, at: int, octets: bytes | None) -> None:
    end = at if octets is None else at + len(octets)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if octets is None:
        del content[at:]
    else:
        content[at:end] = octets


def _pages(at: int, octets: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(octets):
        length = min(_PAGE - (at + start) % _PAGE, len(octets) - start)
        yield at + start, octets[start : start + length]
        start += length


@dataclass(slots=True, eq=False)
class _Change:
    """A name that a folder gives to something, or to nothing; `also` is the other half of a rename."""

    folder: _Folder
    name: str
    thing: _File | _Folder | None
    number: int
    also: _Change | None = None

    def settle(self) -> None:
        for one in filter(None, (self, self.also)):
            if one in one.folder.pending:
                one.folder.pending.remove(one)
            _name(one.folder.durable, one.name, one.thing)


Names = dict[str, "_File | _Folder"]


@dataclass(slots=True, eq=False)
class _Folder:
    """`live` is what processes see."""

    live: Names = field(default_factory=dict)
    durable: Names = field(default_factory=dict)
    changes: int = 0
    pending: list[_Change] = field(default_factory=list)

    def so_far(self) -> int:
        return self.changes

    def sync(self, so_far: int) -> None:
        for change in [change for change in self.pending if change.number < so_far]:
            change.settle()

    def after(self, number: int) -> Names:
        names = dict(self.durable)
        for change in self.pending[:number]:
            _name(names, change.name, change.thing)
        return names


def _name(names: Names, name: str, thing: _File | _Folder | None) -> None:
    if thing is None:
        names.pop(name, None)
    else:
        names[name] = thing


class Disk:
    """The disk below one folder; durable before the first record are the folders `given` in it, empty."""

    def __init__(self, below: Path, given: Iterable[str]) -> None:
        self._below = below
        self._root = _Folder()
        self._by_inode: dict[int, _File | _Folder] = {below.stat().st_ino: self._root}
        for name in given:
            folder = self._root.live[name] = self._root.durable[name] = _Folder()
            self._by_inode[(below / name).stat().st_ino] = folder
        self._syncing: dict[tuple[int, int], int] = {}

    def take(self, record: Record) -> None:
        """What one call did."""
        match record.operation:
            case "c":
                self._made(record, _File())
            case "m":
                self._made(record, _Folder())
            case "w" | "t":
                thing = self._by_inode.get(record.inode)
                if isinstance(thing, _File):
                    thing.pending.append((record.offset, record.second if record.operation == "w" else None))
            case "b":
                if thing := self._by_inode.get(record.inode):
                    self._syncing[record.inode, record.offset] = thing.so_far()
            case "s":
                if thing := self._by_inode.get(record.inode):
                    thing.sync(self._syncing.pop((record.inode, record.offset), 0))
            case "u":
                self._change(self._place(record.first), None)
            case "r":
                self._renamed(record)
            case "l":
                source, name = self._place(record.first)
                self._change(self._place(record.second.decode()), source.live.get(name))

    def _made(self, record: Record, thing: _File | _Folder) -> None:
        self._by_inode[record.inode] = thing
        self._change(self._place(record.first), thing)

    def _renamed(self, record: Record) -> None:
        source, name = self._place(record.first)
        thing = source.live.get(name)
        gone = self._change((source, name), None)
        came = self._change(self._place(record.second.decode()), thing)
        gone.also, came.also = came, gone

    def _change(self, place: tuple[_Folder, str], thing: _File | _Folder | None) -> _Change:
        folder, name = place
        change = _Change(folder, name, thing, folder.changes)
        folder.pending.append(change)
        folder.changes += 1
        _name(folder.live, name, thing)
        return change

    def _place(self, path: str) -> tuple[_Folder, str]:
        folder = self._root
        *parents, name = Path(path).relative_to(self._below).parts
        for parent in parents:
            below = folder.live[parent]
            assert isinstance(below, _Folder), path
            folder = below
        return folder, name

    def write(self, target: Path, survives: Survives) -> None:
        """Make the disk after a power loss now, below `target`."""
        self._write(self._root, target, survives)

    def _write(self, folder: _Folder, target: Path, survives: Survives) -> None:
        target.mkdir(parents=True, exist_ok=True)
        number = {
            Survives.NOTHING: 0,
            Survives.SOME: random.randint(0, len(folder.pending)),
            Survives.ALL: len(folder.pending),
        }[survives]
        for name, thing in folder.after(number).items():
            if isinstance(thing, _Folder):
                self._write(thing, target / name, survives)
            else:
                (target / name).write_bytes(thing.after(survives))
