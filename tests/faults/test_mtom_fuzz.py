"""The MTOM reader under a flood of hostile messages: no crash, no hang over a second, no growth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fuzzing import ENGINES, account_of

INPUTS, LONG_INPUTS = 5_000, 1_000_000
MAX_GROWTH_MB = 50

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("engine", ENGINES)
def test_no_input_crashes_hangs_or_grows_the_reader(tmp_path: Path, long: bool, engine: str):
    inputs = LONG_INPUTS if long else INPUTS

    account = account_of("tests.support.mtom_fuzz", engine, inputs, tmp_path)

    assert account["inputs"] == inputs
    assert account["worst_seconds"] <= 1
    assert account["growth_mb"] < MAX_GROWTH_MB
    assert {"read", "SenderFault"} <= account["outcomes"].keys()
