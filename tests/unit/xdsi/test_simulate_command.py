"""`xdsi simulate`: what it plays, what it refuses to play, and where."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx2
import pytest
from typer.testing import CliRunner

from xdsi.cli import build

RUNNER = CliRunner()


def simulate(*arguments: str):
    return RUNNER.invoke(build("simulate"), ["simulate", *arguments], catch_exceptions=True)


def test_the_scripts_of_an_actor_are_listed():
    ran = simulate("registry", "audit-repository", "--list")

    assert ran.exit_code == 0
    assert "mixes-patients" in ran.stdout
    assert "refuses" in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["archive"], "archive is not played"),
        (["registry", "--script", "other-patient"], "none of registry has it"),
        (["registry", "--host", "0.0.0.0"], "loopback alone"),
    ],
)
def test_what_cannot_be_played_is_refused_with_what_would_be_right(arguments: list[str], says: str):
    ran = simulate(*arguments)

    assert says in str(ran.exception)


def test_actors_play_together_until_they_are_stopped():
    command = [sys.executable, "-m", "xdsi", "simulate", "registry", "imaging-source", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        registry = re.search(r"http://\S+/xds/registry", "".join(lines))
        assert registry is not None
        answer = httpx2.post(registry[0], content=b"<x/>", trust_env=False)
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()

    assert answer.status_code == 400
    assert "P-1^^^&" in "".join(lines)
    assert "POST /xds/registry: HTTP 400" in rest
