"""Orders of studies that are taken over, as they stand on the disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumer.store.take_overs import AtWork, TakeOverOrder, TakeOvers, TakeOverState
from shared.imaging.local_identity import LocalIdentity

ORDER = TakeOverOrder(
    manifest_id="2.25.1",
    home_community_id="",
    destination="dicom://PACS@127.0.0.1:104",
    local=LocalIdentity(patient_id="L-77", name="Müller^Rick"),
    ordered=datetime(2026, 3, 2, tzinfo=UTC),
)


def test_an_order_is_read_back_as_it_was_and_stands_once(tmp_path: Path):
    queue = TakeOvers(tmp_path / "orders")
    assert queue.all() == []

    first = queue.add(ORDER)
    again = queue.add(replace(ORDER, ordered=datetime(2026, 4, 1, tzinfo=UTC)))

    assert first.folder == again.folder
    assert [one.order for one in TakeOvers(tmp_path / "orders").all()] == [ORDER]
    assert queue.find(ORDER.number) is not None
    assert queue.find("../orders") is None
    assert first.folder.stat().st_mode & 0o077 == 0


def test_how_far_it_is_follows_from_the_last_word_on_each_instance(tmp_path: Path):
    order = TakeOvers(tmp_path).add(ORDER)
    assert order.state is TakeOverState.WAITING

    order.note_total(2)
    order.note("2.25.7", "refused")
    assert order.state is TakeOverState.INCOMPLETE
    order.note("2.25.7")
    order.note("2.25.8")
    assert (order.state, order.outcomes) == (TakeOverState.DONE, {"2.25.7": "", "2.25.8": ""})


def test_a_line_that_a_crash_cut_hides_no_other(tmp_path: Path):
    order = TakeOvers(tmp_path).add(ORDER)
    order.note_total(2)
    order.note("2.25.7")
    with (order.folder / "outcomes.jsonl").open("ab") as file:
        file.write(b'{"uid": "2.25.8", "rea')

    order.note("2.25.9")

    assert order.outcomes == {"2.25.7": "", "2.25.9": ""}


def test_two_do_not_work_on_one_order_at_once(tmp_path: Path):
    order = TakeOvers(tmp_path).add(ORDER)
    with order.locked(), pytest.raises(AtWork), TakeOvers(tmp_path).all()[0].locked():
        pass
    with order.locked():
        pass


def test_what_is_forgotten_is_gone(tmp_path: Path):
    queue = TakeOvers(tmp_path)
    queue.forget(queue.add(ORDER))

    assert queue.all() == []
