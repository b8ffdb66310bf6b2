"""The MTOM reader under a flood of hostile messages: no crash, no hang over a second, no growth."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

INPUTS, LONG_INPUTS = 5_000, 1_000_000
MAX_GROWTH_MB = 50

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]


@pytest.mark.parametrize(
    "engine",
    [
        "random",
        pytest.param(
            "guided",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("atheris") is None, reason="atheris is not installed; make fuzz does"
            ),
        ),
    ],
)
def test_no_input_crashes_hangs_or_grows_the_reader(tmp_path: Path, long: bool, engine: str):
    wanted = LONG_INPUTS if long else INPUTS
    command = [sys.executable, "-m", "tests.support.mtom_fuzz", "--inputs", str(wanted), "--keep", tmp_path]
    if engine == "guided":
        command.append("--guided")

    run = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)

    assert run.returncode == 0, run.stderr[-3_000:]
    account = json.loads(run.stdout.splitlines()[-1])
    sys.stdout.write(f"{engine}: {account}\n")
    assert account["inputs"] == wanted
    assert account["worst_seconds"] <= 1
    assert account["growth_mb"] < MAX_GROWTH_MB
    assert {"read", "SenderFault"} <= account["outcomes"].keys()
