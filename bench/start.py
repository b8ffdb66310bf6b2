"""How long a start takes: of a community until `xdsi up` is ready, of each service, of each command's help.

Each is measured against `python -c pass` of the same interpreter, in turns; with `--before FOLDER` another
checkout is measured in the same turns. Processor time is of all processes until then: on a busy machine it is
the figure to compare.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.support.report import Measure, options, show
from xdsi.cli import COMMANDS
from xdsi.community import ORDER, PORTS, Addresses, environment

ROOT = Path(__file__).resolve().parents[1]
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Started:
    """What one start took: seconds on the clock and of processors, and the most memory of all processes."""

    seconds: float
    processor_seconds: float
    peak_rss_mb: float = 0.0


@dataclass(slots=True)
class Turns:
    """What was seen of one thing, here and in the other checkout."""

    here: list[Started] = field(default_factory=list)
    before: list[Started] = field(default_factory=list)


def checkout(root: Path) -> dict[str, str]:
    """The environment in which Python takes our packages from `root`, and settings from nowhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    return kept | {"PYTHONPATH": str(root)}


def free_offset() -> int:
    """A number by which every port can be moved to one that nobody uses."""
    return next(offset for offset in range(20_000, 50_000, 250) if all(map(_is_free, _moved(offset))))


def _moved(offset: int) -> Iterator[int]:
    return (port + offset for port in PORTS.values())


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def family(process_id: int) -> Iterator[int]:
    """A process and all that it started."""
    yield process_id
    for child in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split():
        yield from family(int(child))


def processor_seconds(process_id: int) -> float:
    """What a process used so far, in itself and in the kernel."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_rss_mb(process_id: int) -> float:
    """Most memory that a process held so far."""
    status = Path(f"/proc/{process_id}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def until_ready(command: list[str], env: Mapping[str, str], cwd: Path, *, ready: str) -> Started:
    """Run `command` until it prints a line with the word `ready`, then end it in order."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=env, cwd=cwd, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if ready in line.split():
                seconds = time.perf_counter() - began
                members = list(family(process.pid))
                return Started(
                    seconds,
                    sum(map(processor_seconds, members)),
                    sum(map(peak_rss_mb, members)),
                )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    raise SystemExit(f"{' '.join(command)} ended before it was ready")


def to_the_end(command: list[str], env: Mapping[str, str], cwd: Path) -> Started:
    """Run `command`."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=env, cwd=cwd, capture_output=True, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return Started(seconds, used)


@contextmanager
def community(root: Path, offset: int) -> Iterator[dict[str, Callable[[], Started]]]:
    """What can be started of a checkout, by name; data are in a folder that is gone at the end."""
    xdsi = [sys.executable, "-m", "xdsi"]
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        folder, env = Path(name), checkout(root)
        fresh = iter(range(1_000))

        def up(data: str) -> Started:
            command = [*xdsi, "up", "--data", str(folder / data), "--offset", str(offset)]
            return until_ready(command, env, folder, ready="ready")

        def serve(service: str) -> Started:
            settings = environment(Addresses(offset=offset), folder / "alone")
            return until_ready([*xdsi, "serve", service], env | settings, folder, ready="ready")

        def help_of(command: str) -> Started:
            return to_the_end([*xdsi, command, "--help"], env, folder)

        things: dict[str, Callable[[], Started]] = {
            "up, in a new folder": lambda: up(f"new-{next(fresh)}"),
            "up, in its folder": lambda: up("kept"),
        }
        for service in ORDER:
            things[f"serve {service}"] = lambda service=service: serve(service.value)  # type: ignore[misc]
        for command in COMMANDS:
            things[f"{command} --help"] = lambda command=command: help_of(command)  # type: ignore[misc]
        up("kept")
        yield things


def measure(rounds: int, before: Path | None) -> dict[str, Measure]:
    """All measures by name."""
    offset = free_offset()
    nothing: list[Started] = []
    seen: dict[str, Turns] = {}
    with community(ROOT, offset) as here, community(before or ROOT, offset) as there:
        for name, start in here.items():
            seen[name] = Turns()
            if not name.endswith("--help"):
                start()  # what the first start of all writes and compiles is no part of the others
            for _ in range(rounds):
                nothing.append(to_the_end([sys.executable, "-c", "pass"], os.environ, ROOT))
                seen[name].here.append(start())
                if before is not None:
                    with suppress(subprocess.CalledProcessError):  # it may not know the command
                        seen[name].before.append(there[name]())
    floor = statistics.median(one.seconds for one in nothing)
    return {name: _told(turns, floor) for name, turns in seen.items()}


def _told(turns: Turns, floor: float) -> Measure:
    seconds = statistics.median(one.seconds for one in turns.here)
    told: dict[str, object] = {
        "value": round(seconds, 2),
        "unit": "s",
        "against": f"python -c pass: {floor:.3f} s",
        "ratio": round(seconds / floor, 1),
        "peak_rss_mb": round(max(one.peak_rss_mb for one in turns.here), 1),
        "best": round(min(one.seconds for one in turns.here), 2),
        "processor": round(statistics.median(one.processor_seconds for one in turns.here), 2),
    }
    if turns.before:
        told["before"] = round(statistics.median(one.seconds for one in turns.before), 2)
        told["best_before"] = round(min(one.seconds for one in turns.before), 2)
        told["processor_before"] = round(statistics.median(one.processor_seconds for one in turns.before), 2)
    return told


def main() -> None:
    """Measure and print."""
    wanted = options(__doc__, short="three rounds instead of nine")
    wanted.add_argument(
        "--before", type=Path, metavar="FOLDER", help="another checkout, measured beside this one"
    )
    given = wanted.parse_args()
    show(measure(3 if given.short else 9, given.before), as_json=given.json)


if __name__ == "__main__":
    main()
