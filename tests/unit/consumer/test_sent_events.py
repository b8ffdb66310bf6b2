"""A consumer that is started again and again does not send old events for ever, and loses none."""

from __future__ import annotations

import json
import time
from pathlib import Path

from consumer.store.sent_events import SentEvents
from shared.audit.delivery import KEPT_SECONDS
from shared.audit.spool import Spool
from shared.settings import OnFull


async def waiting_after(tmp_path: Path, note: str | None) -> list[bytes]:
    spool = Spool(
        tmp_path / "audit", max_bytes=10**7, on_full=OnFull.BLOCK, lost=lambda number, reason: b"lost"
    )
    await spool.put(b"one", b"two", b"three")
    if note is not None:
        (tmp_path / "sent-events.json").write_text(note, "ascii")
    await SentEvents(tmp_path).forget_old(spool)
    found = [octets for _, octets in await spool.reader("test").next(10)]
    await spool.close()
    return found


def note(sequence: int, seconds_ago: float) -> str:
    return json.dumps({"sent": {"test": sequence}, "time": time.time() - seconds_ago})


async def test_what_was_sent_a_minute_ago_is_let_go(tmp_path: Path):
    assert await waiting_after(tmp_path, note(2, KEPT_SECONDS + 1)) == [b"three"]


async def test_what_was_sent_just_now_is_sent_once_more(tmp_path: Path):
    assert await waiting_after(tmp_path, note(2, 1)) == [b"one", b"two", b"three"]


async def test_without_a_readable_note_nothing_is_let_go(tmp_path: Path):
    assert await waiting_after(tmp_path, None) == [b"one", b"two", b"three"]
    (tmp_path / "b").mkdir()
    assert await waiting_after(tmp_path / "b", "{") == [b"one", b"two", b"three"]


def test_nothing_sent_leaves_the_note_as_it_is(tmp_path: Path):
    sent = SentEvents(tmp_path)
    sent.remember({"test": 7})
    sent.remember({})
    assert json.loads((tmp_path / "sent-events.json").read_text("ascii"))["sent"] == {"test": 7}
