"""`xdsi conform` leaves behind what it was asked for, and what explains a failure."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from xdsi.cli import build


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def conform(behaviour: str, *arguments: str) -> Result:
    """One probe, asked of a registry that behaves so."""
    with http_simulator(Cast(World("2.999.1"), {"registry": behaviour}).handle) as simulator:
        target = f"registry={simulator.url}/xds/registry"
        words = ["conform", PROBE, "--target", target, "--domain", "2.999.1", *arguments]
        return CliRunner().invoke(build("conform"), words)


PROBE = "REG-SOAP-02"


def test_a_system_that_meets_everything_leaves_nothing_behind(temporary: Path):
    ran = conform(RIGHT)

    assert ran.exit_code == 0, ran.output
    assert list(temporary.iterdir()) == []


def test_what_explains_a_failure_is_kept_where_it_is_said(temporary: Path):
    ran = conform("no-relates-to")

    assert ran.exit_code == 1
    [kept] = temporary.iterdir()
    assert f"kept in {kept} (--folder" in ran.output
    assert list(kept.rglob("*answer*")) != []


def test_what_is_refused_leaves_nothing_behind(temporary: Path):
    ran = CliRunner().invoke(build("conform"), ["conform", PROBE])

    assert "nothing to judge" in str(ran.exception)
    assert list(temporary.iterdir()) == []


def test_a_folder_that_is_named_keeps_everything(temporary: Path, tmp_path: Path):
    ran = conform(RIGHT, "--folder", str(tmp_path / "named"))

    assert ran.exit_code == 0, ran.output
    assert [one.name for one in temporary.iterdir()] == ["named"]
    assert [one for one in (tmp_path / "named").rglob("*") if one.is_file()] != []
