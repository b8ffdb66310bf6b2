"""Programs of Python that start without reading all modules anew: forked from a process that has read them.

Each is a process like any other, with an environment, outputs and an end of its own, and `kill` is kill -9.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO
from unittest.mock import patch

from xdsi.community import Process

_SERVICES = ("audit_repository", "imaging_source", "registry", "repository")
_COMMAND = "xdsi"
_OURS = frozenset({*_SERVICES, "shared", _COMMAND})

_SERVER = multiprocessing.get_context("forkserver")
# What takes the time of a start. A child reads the main module of the tests, too.
_SERVER.set_forkserver_preload(["pytest", "xdsi.cli", *(f"{name}.app" for name in _SERVICES)])


class Forked:
    """A running program, with what is used here of `subprocess.Popen`."""

    def __init__(self, module: str, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        reader, writer = _SERVER.Pipe(duplex=False)
        self._process = _SERVER.Process(target=_become, args=(module, arguments, dict(env), writer, log))
        self._process.start()
        writer.close()
        self.stdout: IO[str] = os.fdopen(os.dup(reader.fileno()), encoding="utf-8")
        reader.close()
        self.args = [module, *arguments]

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, None while it runs; negative after a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit status.

        Raises
        ------
        subprocess.TimeoutExpired
            It did not end in time.
        """
        self._process.join(timeout)
        if (status := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return status

    def kill(self) -> None:
        """End at once."""
        self._process.kill()

    def terminate(self) -> None:
        """Ask for an orderly stop."""
        self._process.terminate()


def _become(
    module: str, arguments: Sequence[str], env: Mapping[str, str], writer: Connection, log: Path
) -> None:
    """Be the program `python -m module arguments`, in a process that was forked for it."""
    os.environ.clear()
    os.environ.update(env)
    os.dup2(writer.fileno(), 1)
    writer.close()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (
        open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # until its end
        for number in (1, 2)
    )
    sys.argv[1:] = arguments
    if module != _COMMAND:
        # It may change modules of ours before others read them.
        for name in [name for name in sys.modules if name.partition(".")[0] in _OURS]:
            del sys.modules[name]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


#: A program that was started, forked or not.
Program = Forked | subprocess.Popen[str]


def program(module: str, *arguments: str, env: Mapping[str, str], log: Path) -> Program:
    """Start `python -m module arguments`; what it prints is in `stdout`, what it logs goes to `log`."""
    if "LD_PRELOAD" not in env:
        return Forked(module, arguments, env, log)
    # The loader reads it, so the interpreter itself has to be started.
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )


@contextmanager
def forked_services() -> Iterator[None]:
    """Services of a community that are started meanwhile are forked."""

    def opened(process: Process) -> Program:
        return program(*process.command[2:], env=process.environment, log=process.log)

    with patch.object(Process, "_opened", opened):
        yield
