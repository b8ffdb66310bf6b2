"""Services that start without reading all modules anew: forked from a process that has read them.

Six interpreters that each read the same modules take six times the second that one takes. Each service is a
process like any other, with an environment, outputs and an end of its own.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

_COMMAND = "xdsi"
_SET_NAME = 15  # PR_SET_NAME of prctl(2); names have 15 octets
_ARGUMENTS = (48, 49)  # where the command line begins and ends, of /proc/self/stat (proc(5))

#: What forks; it starts with the first program, and ends with this process.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["xdsi.preloaded"])


class Forked:
    """A program that runs, with what is used here of `subprocess.Popen`.

    Parameters
    ----------
    arguments
        Of `python -m module`.
    env
        Its whole environment.
    log
        File to which its standard error is appended; what it prints is in `stdout`.
    """

    def __init__(
        self, arguments: Sequence[str], env: Mapping[str, str], log: Path, *, module: str = _COMMAND
    ) -> None:
        reader, writer = SERVER.Pipe(duplex=False)
        self._process = SERVER.Process(target=become, args=(module, arguments, dict(env), writer, log))
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


def become(
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
    _call_itself(module, arguments)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _call_itself(module: str, arguments: Sequence[str]) -> None:
    """Be for `ps`, `top` and `pgrep` what this process is, and not the one that forked it."""
    ctypes.CDLL(None).prctl(_SET_NAME, f"{_COMMAND} {' '.join(arguments[1:2])}".encode(), 0, 0, 0)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = (int(fields[number - 3]) for number in _ARGUMENTS)
    if size := end - start:
        words = "\0".join((sys.executable, "-m", module, *arguments)).encode()
        ctypes.memmove(start, words[: size - 1].ljust(size, b"\0"), size)
