"""Programs of Python for tests, forked as `xdsi up` forks services; `kill` is kill -9."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from xdsi.forked import SERVER, Forked

#: What a service loads when it has a use for it, as nearly each has whose database is new: read once.
_LATER = (
    "shared.store.migration",
    "shared.store.postgresql",
    "anyio._backends._asyncio",
    "httpcore2",
    "truststore",
    "uvicorn.lifespan.off",
    "uvloop",
)
SERVER.set_forkserver_preload(["pytest", *_LATER, "xdsi.preloaded"])

#: A program that was started, forked or not.
Program = Forked | subprocess.Popen[str]


def program(module: str, *arguments: str, env: Mapping[str, str], log: Path) -> Program:
    """Start `python -m module arguments`; what it prints is in `stdout`, what it logs goes to `log`."""
    if "LD_PRELOAD" not in env:
        return Forked(arguments, env, log, module=module)
    # The loader reads it, so the interpreter itself has to be started.
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )


def run(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """What became of `xdsi arguments`, with the settings of `env` and none of this process."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    words = [str(each) for each in arguments]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = Forked(words, own | dict(env or {}), log)
        try:
            with command.stdout as stdout:
                said = stdout.read()
            return subprocess.CompletedProcess(words, command.wait(), said, log.read_text("utf-8", "replace"))
        finally:
            command.kill()
            command.wait()
