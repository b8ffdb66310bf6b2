"""`xdsi kpi` beside a running service: what came, what was published, how fast it is given back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.publishing_rig import PublishingRig, a_publishing_rig
from xdsi.kpi import bounds_of, command, times_of, times_within

STUDY, OTHER = "2.25.11", "2.25.21"
app = typer.Typer()
app.command()(command)

ascending = st.lists(st.floats(0, 1e4), min_size=1).map(sorted)


@pytest.fixture
async def rig(tmp_path, monkeypatch) -> AsyncIterator[PublishingRig]:
    async with a_publishing_rig(tmp_path) as rig:
        settings = rig.source.parts.settings
        await rig.make_known("P1")
        monkeypatch.setenv("XDSI_IMAGING_SOURCE__PUBLIC_URL", settings.public_url)
        monkeypatch.setenv("XDSI_DATA", str(settings.data))
        yield rig


async def run(*words: str):
    return await asyncio.to_thread(CliRunner().invoke, app, list(words))


async def test_what_came_and_was_published_is_counted(rig):
    for _ in range(3):
        await rig.image(STUDY, "P1")
    await rig.image(OTHER, "P9")
    await rig.publish(STUDY)
    await rig.publish(OTHER)

    ended = await run("--json")

    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told["studies"] == 2
    [volume] = told["volumes"]
    assert (volume["studies"], volume["instances"]) == (2, 4)
    assert volume["bytes"] > 1_000
    assert {state: number for state, number in told["publications"].items() if number} == {
        "published": 1,
        "waiting": 1,
    }
    assert told["registration"]["number"] == 1
    assert 0 <= told["registration"]["half_seconds"] <= told["registration"]["most_seconds"] < 300


async def test_it_is_told_to_people_without_a_word_of_a_patient(rig):
    await rig.image(STUDY, "P1")
    await rig.publish(STUDY)

    ended = await run()

    assert ended.exit_code == 0, ended.output
    assert "1 study, 1 instance" in ended.stdout
    assert "1 published, 0 refused, 0 abandoned" in ended.stdout
    assert "P1" not in ended.output
    assert STUDY not in ended.output


async def test_what_came_before_is_not_counted(rig):
    await rig.image(STUDY, "P1")

    ended = await run("--since", "2090-01-01")

    assert "0 studies, 0 instances" in ended.stdout
    assert "publications: none" in ended.stdout


# --- times ----------------------------------------------------------------------------------------------


def test_times_of_a_histogram_are_those_of_its_buckets():
    text = "".join(
        f'xdsi_transaction_seconds_bucket{{transaction="RAD-69",le="{bound}"}} {number}\n'
        for bound, number in (("0.1", 40), ("0.2", 60), ("1.0", 100), ("+Inf", 100))
    )
    head = "# TYPE xdsi_transaction_seconds histogram\n"
    times = times_within(bounds_of(head + text)["RAD-69"])
    assert times is not None
    assert times.number == 100
    assert times.half == pytest.approx(0.15)
    assert times.most == pytest.approx(0.9)


def test_nothing_has_no_times():
    assert times_of(()) is None
    assert times_within(()) is None
    assert times_within([(0.1, 0.0), (float("inf"), 0.0)]) is None


@given(ascending)
def test_half_and_most_are_times_that_were_seen_in_their_order(seconds: list[float]):
    times = times_of(seconds)
    assert times is not None
    assert {times.half, times.most} <= set(seconds)
    assert times.half <= times.most


@given(ascending)
def test_times_of_a_histogram_are_within_its_bounds(seconds: list[float]):
    bounds = [
        (bound, float(sum(each <= bound for each in seconds))) for bound in (1.0, 10.0, 100.0, float("inf"))
    ]
    times = times_within(bounds)
    assert times is not None
    assert 0 <= times.half <= times.most <= 100
