"""What rejection notes say is read once, and kept within a number of references in all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imaging_source.domain.selection import REJECTION_TITLES
from imaging_source.store import rejections
from imaging_source.store.rejections import KeyObjects

TITLE = next(iter(REJECTION_TITLES))


def note(references: int) -> bytes:
    def uid(value: str) -> dict[str, Any]:
        return {"vr": "UI", "Value": [value]}

    def sequence(*items: dict[str, Any]) -> dict[str, Any]:
        return {"vr": "SQ", "Value": list(items)}

    listed = ({"00081155": uid(f"1.2.{number}")} for number in range(references))
    study = {"00081115": sequence({"00081199": sequence(*listed)})}
    title = {"00080100": {"vr": "SH", "Value": [TITLE]}}
    return json.dumps({"0040A043": sequence(title), "0040A375": sequence(study)}).encode()


class Notes:
    """A database that counts how often each note was read."""

    def __init__(self, notes: dict[str, bytes]) -> None:
        self.notes = notes
        self.read: list[str] = []

    async def fetch(self, statement: object, *, sop_instance_uids: list[str]) -> list[tuple[str, bytes]]:
        self.read += sop_instance_uids
        return [(uid, self.notes[uid]) for uid in sop_instance_uids]


async def test_a_large_note_is_read_once_too_and_the_oldest_goes_when_there_is_too_much(monkeypatch):
    monkeypatch.setattr(rejections, "_MAX_REFERENCES_KEPT", 20_000)
    notes = Notes({"a": note(12_000), "b": note(5), "c": note(9_000)})
    kept = KeyObjects(notes)  # type: ignore[arg-type]

    for uid in ("a", "b", "a", "b", "c", "c", "b", "a"):
        assert len((await kept._read([uid]))[uid].references) == {"a": 12_000, "b": 5, "c": 9_000}[uid]

    assert notes.read == ["a", "b", "c", "a"]


@pytest.mark.parametrize("references", [20_001, 100_000])
async def test_a_note_beyond_all_that_is_kept_is_read_and_not_kept(monkeypatch, references):
    monkeypatch.setattr(rejections, "_MAX_REFERENCES_KEPT", 20_000)
    notes = Notes({"a": note(references)})
    kept = KeyObjects(notes)  # type: ignore[arg-type]

    for _ in range(2):
        assert len((await kept._read(["a"]))["a"].references) == references

    assert notes.read == ["a", "a"]
    assert kept._references == 0
