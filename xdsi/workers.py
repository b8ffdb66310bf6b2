"""Several processes of one service on one port: started, watched, started again, ended together."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from shared.settings import ServiceSettings
from shared.telemetry.metrics import SHARED
from xdsi.cli import Failed

if TYPE_CHECKING:
    from xdsi.serve import Service

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0
STOP_SECONDS = 35.0


class Worker:
    """One of the processes. Its standard input is a pipe that ends with this process."""

    def __init__(self, number: int, command: list[str], environment: dict[str, str]) -> None:
        self.number = number
        self._command = [*command, "--worker", str(number)]
        self._environment = environment
        self._failures = 0
        self._since = 0.0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        self._since = time.monotonic()
        return subprocess.Popen(  # noqa: S603  # our own interpreter and module
            self._command, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def wait_ready(self) -> bool:
        """Wait until it accepts requests; False when it ended before."""
        assert self.process.stdout is not None
        return b" ready " in self.process.stdout.readline()

    def restart_if_ended(self) -> None:
        """Start it again when it ended by itself, after a pause that grows with each time."""
        status = self.process.poll()
        lived = time.monotonic() - self._since
        if status is None:
            return
        if lived > STEADY_SECONDS:
            self._failures = 0
        pause = PAUSES[min(self._failures, len(PAUSES) - 1)]
        if lived < pause:
            return
        sys.stderr.write(f"worker {self.number} ended with status {status}; it is started again\n")
        self._failures += 1
        self._close()
        self.process = self._started()

    def stop(self) -> int:
        """Wait for the end after a signal; one that does not end is killed."""
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._close()
        return status

    def _close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def supervise(service: Service, settings: ServiceSettings, config: Path | None) -> None:
    """Run all workers until a signal comes: the first one, then the others when it is ready.

    Raises
    ------
    Failed
        A worker did not start, or one did not end cleanly.
    """
    from xdsi.serve import url_of

    number: int = settings.workers  # type: ignore[attr-defined]
    counted = settings.folder / "workers" / "metrics"
    shutil.rmtree(counted, ignore_errors=True)
    counted.mkdir(parents=True, mode=0o700)
    command = [sys.executable, "-m", "xdsi", "serve", service.value, "--workers", str(number)]
    command += ["--config", str(config)] if config else []
    environment = {**os.environ, SHARED: str(counted)}
    stopping = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stopping.set())
    workers: list[Worker] = []
    try:
        for which in range(number):
            workers.append(Worker(which, command, environment))
            if which == 0 and not workers[0].wait_ready():
                raise Failed(f"{service} did not start; what is above says why")
        if not all(each.wait_ready() for each in workers[1:]):
            raise Failed(f"a worker of {service} did not start; what is above says why")
        sys.stdout.write(f"{service} ready {url_of(settings, settings.port)}\n")
        sys.stdout.flush()
        while not stopping.wait(0.2):
            for each in workers:
                each.restart_if_ended()
    finally:
        # The first one last: the others hand over to it what they still have.
        for each in reversed(workers):
            each.process.terminate()
            each.stop()


def end_with_parent() -> None:
    """End this process, as a crash does, when the one that started it is gone: whoever starts that one again
    needs the port and the files."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(os.EX_SOFTWARE)

    threading.Thread(target=watch, name="parent", daemon=True).start()
