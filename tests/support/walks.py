"""A page for a role, walked: what it shows is typed as it stands, in a fresh folder.

In a page, in order:

- a block `sh` is typed into one shell; whatever fails ends the walk;
- a block `text` after it is what that printed; `…` stands for anything, alone on a line for any lines;
- a block of another language under a line that is a file's name in back quotes is written to that file;
- `<!-- in a terminal of its own, until it says WORD -->` before a block: it goes on until the end;
- `<!-- Ctrl-C there -->`: the last terminal of its own is ended, as people do;
- `<!-- not here: REASON -->` before a block: it is only shown;
- `<!-- given: NAME, … -->`: what a reader of the page has already, of `GIVEN`.

`python -m tests.support.walks PAGE FOLDER` walks in a network of its own, so that the ports which a page
names are free.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 240.0
STOP = "Ctrl-C there"

_MARK = re.compile(r"^<!-- (?P<text>.+) -->$")
_FILE = re.compile(r"^`(?P<path>[\w./-]+)`$")
_FENCE = re.compile(r"^```(?P<language>[\w-]*)$")
_TERMINAL = re.compile(r"in a terminal of its own, until it says (?P<word>\S+)")
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


class NotAsTold(Exception):
    """Something on the page does not work, or does not say what the page shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One block of a page; `mark` is the comment before it, `path` the file whose name stood there."""

    line: int
    language: str
    text: str
    mark: str = ""
    path: str = ""


def steps(page: Path) -> list[Step]:
    """The blocks of a page, in order."""
    found: list[Step] = []
    mark = path = language = ""
    begun, lines = 0, list[str]()
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if begun and line == "```":
            text = "".join(f"{one}\n" for one in lines)
            found.append(Step(line=begun, language=language, text=text, mark=mark, path=path))
            begun, mark, path = 0, "", ""
        elif begun:
            lines.append(line)
        elif fence := _FENCE.match(line):
            begun, language, lines = number, fence["language"], []
        elif line == f"<!-- {STOP} -->":
            found.append(Step(line=number, language=STOP, text=""))
        elif marked := _MARK.match(line):
            mark = marked["text"]
        elif named := _FILE.match(line):
            path = named["path"]
        elif line:
            mark = path = ""
    return found


def given(page: Path) -> list[str]:
    """What a reader of the page has already."""
    found = re.search(r"^<!-- given: (.+) -->$", page.read_text("utf-8"), re.MULTILINE)
    return found[1].split(", ") if found else []


# --- what readers have ----------------------------------------------------------------------------------


@contextmanager
def _studies(folder: Path) -> Iterator[dict[str, str]]:
    from xdsi.builtin_study import write_study

    write_study(folder / "my-studies")
    yield {}


@contextmanager
def _postgresql(_: Path) -> Iterator[dict[str, str]]:
    """A server on its usual port of this network, which the user `postgres` administers."""
    from tests.support.postgres import running

    with running(port=5432) as folder:
        yield {"PGHOST": str(folder), "PGUSER": "postgres"}


#: By name: what is put into the folder or the environment, and the program without which there is none.
GIVEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "studies": (_studies, "true"),
    "PostgreSQL": (_postgresql, "psql"),
}


# --- a shell ---------------------------------------------------------------------------------------------


class Shell:
    """One terminal: the blocks that are typed into it share their variables and their folder."""

    _DONE = "xdsi-walk-done"

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def type(self, text: str, *, until: str = "") -> str:
        """What `text` printed, when it ended, or printed the word `until`.

        Raises
        ------
        NotAsTold
            It failed, or took too long.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"set -eo pipefail\n{text}\necho {self._DONE}\n")
        self._process.stdin.flush()
        said: list[str] = []
        slow = threading.Timer(SECONDS, self._kill)
        slow.start()
        try:
            for line in self._process.stdout:
                if line.rstrip("\n").endswith(self._DONE):
                    said.append(line.replace(f"{self._DONE}\n", ""))
                    return "".join(said)
                said.append(line)
                if until and until in line.split():
                    return "".join(said)
        finally:
            slow.cancel()
        raise NotAsTold(f"it failed, or took longer than {SECONDS:g} s, and said:\n{''.join(said)}")

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End whatever goes on in it."""
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.communicate(timeout=60)
        except ProcessLookupError:
            pass
        except subprocess.TimeoutExpired:
            self._kill()


# --- the walk --------------------------------------------------------------------------------------------


def walk(page: Path, folder: Path) -> None:
    """Do in `folder` what the page shows; raises `NotAsTold` with the line at which it did not work."""
    home = folder / ".home"
    home.mkdir()
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TZ") if name in os.environ}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**kept, "PATH": programs, "HOME": str(home), "COLUMNS": "80"}
    with ExitStack() as stack:
        for name in given(page):
            environment |= stack.enter_context(GIVEN[name][0](folder))  # type: ignore[arg-type]

        terminals: list[Shell] = []
        stack.callback(lambda: [shell.close() for shell in terminals])

        def terminal() -> Shell:
            terminals.append(Shell(folder, environment))
            return terminals[-1]

        main, said = terminal(), ""
        for step in steps(page):
            try:
                if step.language == STOP:
                    terminals.pop().close()
                else:
                    said = _do(step, folder, main, terminal, said)
            except NotAsTold as reason:
                raise NotAsTold(f"{page.name}:{step.line}: {reason}") from None


def _do(step: Step, folder: Path, main: Shell, terminal: Callable[[], Shell], said: str) -> str:
    """One step; what the last one that was typed said."""
    if step.mark.startswith("not here: "):
        return said
    if step.path:
        (folder / step.path).parent.mkdir(parents=True, exist_ok=True)
        (folder / step.path).write_text(step.text, "utf-8")
    elif step.language == "sh":
        print(f"--- line {step.line}\n{step.text}", flush=True)
        if goes_on := _TERMINAL.fullmatch(step.mark):
            said = terminal().type(step.text, until=goes_on["word"])
        else:
            said = main.type(step.text)
        print(said, flush=True)
    elif step.language == "text" and not matches(step.text, said):
        raise NotAsTold(f"the page shows\n{step.text}\nand it said\n{said}")
    return said


def matches(shown: str, said: str) -> bool:
    """Whether `said` is what a page shows, where `…` stands for anything."""
    pattern = ""
    for line in shown.splitlines():
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"\s*" + r"\s+".join(map(_word, line.split())) + r"[ \t]*\n"
    return re.fullmatch(pattern + r"\s*", said if said.endswith("\n") else f"{said}\n") is not None


def _word(word: str) -> str:
    return ".*".join(map(re.escape, word.split("…")))


def enter_network_of_its_own() -> None:
    """From now on this process and its children have a loopback of their own alone; needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def main() -> None:
    """Walk a page."""
    page, folder = map(Path, sys.argv[1:])
    missing = [program for _, program in (GIVEN[name] for name in given(page)) if not shutil.which(program)]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    enter_network_of_its_own()
    try:
        walk(page, folder)
    except NotAsTold as reason:
        sys.exit(str(reason))


if __name__ == "__main__":
    main()
