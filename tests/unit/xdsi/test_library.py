"""`import xdsi`: what a program gets, where nobody answers; what services answer is in tests/peers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

import xdsi
from xdsi.library import _written

AWAY = {"registry_url": "http://127.0.0.1:9/xds/registry"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in a folder of its own, whose user has another one for state."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_a_failure_is_one_sentence_and_nothing_stays_in_the_current_folder(elsewhere: Path):
    with xdsi.connect(**AWAY) as client, pytest.raises(xdsi.Failed, match=r"127\.0\.0\.1:9"):
        client.find("P-1001")

    assert list(elsewhere.iterdir()) == []
    assert (elsewhere.parent / "state" / "xdsi" / "consumers").is_dir()


async def test_the_same_for_programs_with_an_event_loop(elsewhere: Path):
    async with xdsi.connect(**AWAY) as client:
        with pytest.raises(xdsi.Failed, match=r"127\.0\.0\.1:9"):
            await client.find("P-1001")

    assert list(elsewhere.iterdir()) == []


async def test_a_client_that_waits_can_be_used_beside_a_loop_that_runs():
    def used() -> None:
        with xdsi.connect(**AWAY) as client:
            client.find("P-1001")

    with pytest.raises(xdsi.Failed):
        used()
    assert asyncio.get_running_loop().is_running()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDSI_REGISTRY_URL", "http://127.0.0.1:11/xds/registry")
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "data"))

    with xdsi.connect() as client, pytest.raises(xdsi.Failed, match=r"127\.0\.0\.1:11"):
        client.find("P-1001")

    assert (tmp_path / "data" / "consumers").is_dir()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"patient_id": "P^nonsense"}, "patient_id"),
        ({"patient_id": "P", "modalities": ["<CT>"]}, "modalities"),
        ({"patient_id": "P", "since": "yesterday"}, "since"),
        ({"patient_id": "P", "before": "2026-13-01"}, "before"),
    ],
)
def test_a_wrong_filter_is_named_before_anybody_is_asked(wrong: dict, named: str):
    with xdsi.connect(**AWAY) as client, pytest.raises(xdsi.Failed, match=f"^{named}: write"):
        client.find(**wrong)


def test_a_wrong_setting_or_role_is_named():
    with pytest.raises(xdsi.SettingsError, match="XDSI_REGISTRY_URL"):
        xdsi.connect(registry_url="nonsense")
    with pytest.raises(xdsi.Failed, match="is not a code"):
        xdsi.connect(user="dr.roe", roles=["RAD"])


def test_moments_are_dates_times_and_text():
    assert _written(date(2026, 9, 1)) == "20260901"
    assert _written(datetime(2026, 9, 1, 9, 15, tzinfo=UTC)) == "20260901091500"
    assert (_written("2026-09"), _written(None)) == ("2026-09", "")


def test_the_library_is_loaded_when_it_is_used_and_not_before():
    told = (
        "import sys, xdsi; print('consumer' in sys.modules); xdsi.connect; print('consumer' in sys.modules)"
    )

    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xdsi.nothing
