"""What programs that try bytes by chance, or have atheris choose them, are told, and how they are run."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
#: By chance alone, and by what was reached, where atheris is installed.
ENGINES = (
    "random",
    pytest.param(
        "guided",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("atheris") is None, reason="atheris is not installed; make fuzz does"
        ),
    ),
)


def options(description: str | None, inputs: int) -> argparse.Namespace:
    """What the command line says; so many inputs where it says no number."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=int, default=inputs)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()))
    return parser.parse_args()


def instrumented(guided: bool, *packages: str) -> Any:
    """The context in which what is tried is imported, of these packages."""
    if not guided:
        return nullcontext()
    import atheris

    return atheris.instrument_imports(include=list(packages))


def account_of(program: str, engine: str, inputs: int, keep: Path) -> dict[str, Any]:
    """What a program tells at its end of so many inputs; those that it fails upon are kept in a folder."""
    command = [sys.executable, "-m", program, "--inputs", str(inputs), "--keep", keep]
    if engine == "guided":
        command.append("--guided")

    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert ran.returncode == 0, ran.stderr[-3_000:]
    account: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    sys.stdout.write(f"{engine}: {account}\n")
    return account
