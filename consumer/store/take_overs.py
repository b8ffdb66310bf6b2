"""Studies that are taken over: what was ordered, and what became of each instance, durable as it happens.

Each order has a private folder of its own: `order.json`, a line for each instance in `outcomes.jsonl`, and
the images until all are where they go. Who works on one holds its lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from consumer.domain.destination import Destination
from shared.imaging.local_identity import LocalIdentity
from shared.store.folders import make_folder, sync

_ORDER: Final = "order.json"
_OUTCOMES: Final = "outcomes.jsonl"
_LOCK: Final = "lock"


class AtWork(Exception):
    """Somebody else works on this order now."""


class TakeOverState(StrEnum):
    """How far an order is."""

    WAITING = "waiting"
    INCOMPLETE = "incomplete"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOverOrder:
    """Which study goes where, under which local identifiers, ordered when (aware); `title` is what people
    know it by, if anything."""

    manifest_id: str
    home_community_id: str
    destination: str
    local: LocalIdentity | None
    ordered: datetime
    title: str = ""

    @property
    def number(self) -> str:
        """By which it is known: the same study, place and identifiers are the same order."""
        local = asdict(self.local) if self.local else {}
        content = json.dumps([self.manifest_id, self.home_community_id, self.destination, local])
        return sha256(content.encode()).hexdigest()[:12]


class TakeOver:
    """One order in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.order = _read_order(json.loads((folder / _ORDER).read_bytes()))

    @property
    def images(self) -> Path:
        """Where fetched images wait."""
        return self.folder / "images"

    @property
    def state(self) -> TakeOverState:
        """How far it is."""
        total, outcomes = self._lines()
        if total is None:
            return TakeOverState.WAITING
        done = len(outcomes) == total and not any(outcomes.values())
        return TakeOverState.DONE if done else TakeOverState.INCOMPLETE

    @property
    def total(self) -> int:
        """How many instances it is about; 0 as long as that is not known."""
        return self._lines()[0] or 0

    @property
    def outcomes(self) -> Mapping[str, str]:
        """By SOP Instance UID why an instance is not at its destination, empty when it is; the last word."""
        return self._lines()[1]

    def _lines(self) -> tuple[int | None, dict[str, str]]:
        total: int | None = None
        outcomes: dict[str, str] = {}
        with suppress(FileNotFoundError):
            for line in (self.folder / _OUTCOMES).read_text("utf-8").splitlines():
                # A line that a crash cut says nothing.
                with suppress(ValueError, KeyError, TypeError):
                    content = json.loads(line)
                    if "total" in content:
                        total = int(content["total"])
                    else:
                        outcomes[str(content["uid"])] = str(content["reason"])
        return total, outcomes

    def note_total(self, total: int) -> None:
        """Keep how many instances it is about; durable when this returns, as every other word is. Blocks."""
        self._append({"total": total})

    def note(self, uid: str, reason: str = "") -> None:
        """Keep what became of an instance. Blocks."""
        self._append({"uid": uid, "reason": reason})

    def _append(self, content: Mapping[str, Any]) -> None:
        # Behind what a crash may have cut.
        line = f"\n{json.dumps(content)}\n".encode()
        descriptor = os.open(self.folder / _OUTCOMES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Remove the images, which are where they go. Blocks."""
        shutil.rmtree(self.images, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work on it alone.

        Raises
        ------
        AtWork
            Somebody else does.
        """
        with (self.folder / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AtWork from None
            yield


class TakeOvers:
    """Every order, in a folder; blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, order: TakeOverOrder) -> TakeOver:
        """Keep an order; the same one is the one that is there."""
        folder = self._folder / order.number
        if not (folder / _ORDER).is_file():
            make_folder(folder)
            part = folder / f"{_ORDER}.part"
            part.write_text(json.dumps(_written_order(order)), "utf-8")
            sync(part)
            part.replace(folder / _ORDER)
            sync(folder)
        return TakeOver(folder)

    def find(self, number: str) -> TakeOver | None:
        """The order of a number, if there is one."""
        return next((one for one in self.all() if one.folder.name == number), None)

    def all(self) -> list[TakeOver]:
        """All of them, the newest first."""
        if not self._folder.is_dir():
            return []
        folders = [path for path in self._folder.iterdir() if (path / _ORDER).is_file()]
        return sorted(map(TakeOver, folders), key=lambda one: one.order.ordered, reverse=True)

    def forget(self, take_over: TakeOver) -> None:
        """Remove an order and what was fetched for it; what is at its destination stays, unless that is
        a file beside the orders, which is theirs."""
        media = Destination.of(take_over.order.destination).path
        if media.parent == self._folder.absolute():
            media.unlink(missing_ok=True)
        shutil.rmtree(take_over.folder)


def _written_order(order: TakeOverOrder) -> dict[str, Any]:
    return {**asdict(order), "ordered": order.ordered.isoformat()}


def _read_order(content: dict[str, Any]) -> TakeOverOrder:
    local = LocalIdentity(**content.pop("local")) if content.get("local") else content.pop("local")
    return TakeOverOrder(**{**content, "local": local, "ordered": datetime.fromisoformat(content["ordered"])})
