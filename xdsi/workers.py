"""Several processes of the registry on one port: started, watched, started again, stopped together."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import sys
import threading
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from registry.settings import RegistrySettings
from shared.telemetry.log import logger
from xdsi.failures import Failed
from xdsi.readiness import tell_ready

PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_SECONDS = 60.0

_log = logger(__name__)


def metrics_folder(settings: RegistrySettings) -> Path:
    """Where workers keep what they count, for the sum of all."""
    return settings.folder / "workers" / "metrics"


def end_with_parent() -> None:
    """Ask this process to stop in order when standard input ends: whoever started it is gone."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def supervise(settings: RegistrySettings, config: Path | None) -> None:
    """Run `settings.workers` workers until SIGTERM or SIGINT; returning is a clean end.

    `registry ready URL` is printed once, when all of them accept requests.

    Raises
    ------
    Failed
        A worker did not start, or another registry runs in the same folder.
    SettingsError
        The port is taken.
    """
    folder = settings.folder / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _alone(lock, settings)
        shutil.rmtree(metrics_folder(settings), ignore_errors=True)
        with ExitStack() as reserved:
            ports = {}
            for setting, host, number in _listeners(settings):
                with settings.listening(setting, number):
                    reserve = reserved.enter_context(_reserved(host, number))
                ports[f"XDSI_REGISTRY__{setting.upper()}"] = str(reserve.getsockname()[1])
            asyncio.run(_Supervisor(settings, config, ports).run())
    finally:
        os.close(lock)


def _listeners(settings: RegistrySettings) -> Iterator[tuple[str, str, int]]:
    """What the workers share: of each port its setting, its address and its number."""
    yield "port", settings.host, settings.port
    yield "mllp_port", settings.host, settings.feed_port
    if settings.health_port is not None:
        yield "health_port", settings.health_host, settings.health_port


def _alone(lock: int, settings: RegistrySettings) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise Failed(f"another registry runs in {settings.folder}; stop that one") from None


def _reserved(host: str, port: int) -> socket.socket:
    """A socket that holds the port for the workers, and takes no connection itself.

    Who shares a port is not told of others that do, so it is first looked for them.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        trial.bind((host, port))
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except BaseException:
        reserved.close()
        raise
    return reserved


class _Supervisor:
    def __init__(self, settings: RegistrySettings, config: Path | None, ports: Mapping[str, str]) -> None:
        self._count = settings.workers
        self._command = [sys.executable, "-m", "xdsi", "serve", "registry"]
        self._command += ["--config", str(config)] if config else []
        self._environment: Mapping[str, str] = {
            **os.environ,
            **ports,
            "XDSI_REGISTRY__WORKERS": str(self._count),
        }
        self._running: dict[int, Process] = {}
        self._stopping = asyncio.Event()
        self._signals = 0

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signal_number, self._asked_to_stop)
        watches: list[asyncio.Task[None]] = []
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            starting = asyncio.gather(*map(self._started, range(self._count)))
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                return
            line = starting.result()[0]
            watches += [asyncio.ensure_future(self._keep(number)) for number in range(self._count)]
            tell_ready(line.rstrip("\n"))
            await asyncio.wait((stopping, *watches), return_when=asyncio.FIRST_COMPLETED)
            for watch in watches:
                if watch.done():
                    watch.result()
        finally:
            stopping.cancel()
            for watch in watches:
                watch.cancel()
            await self._stop()

    def _asked_to_stop(self) -> None:
        self._signals += 1
        self._stopping.set()
        if self._signals > 1:
            # The second signal cuts what is still in work, as in a single process.
            for process in self._running.values():
                _terminate(process)

    async def _started(self, number: int) -> str:
        """Start a worker and wait until it accepts requests; the line that says so."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            "--worker",
            str(number),
            stdin=PIPE,  # never written to: it ends with this process
            stdout=PIPE,
            env=self._environment,
            start_new_session=True,  # Ctrl-C is for this process, which stops the workers in order
        )
        self._running[number] = process
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if not line:
            await process.wait()
            raise Failed(f"worker {number} of the registry does not start; its reason is above")
        return line

    async def _keep(self, number: int) -> None:
        """Start a worker again whenever it ends, later each time unless it held for a while."""
        failures = 0
        while True:
            since = time.monotonic()
            process = self._running[number]
            status = await process.wait()
            if time.monotonic() - since > STEADY_SECONDS:
                failures = 0
            pause = PAUSES_SECONDS[min(failures, len(PAUSES_SECONDS) - 1)]
            failures += 1
            _log.error("worker ended; it is started again", worker=number, status=status, pause=pause)
            await asyncio.sleep(pause)
            with suppress(Failed):
                await self._started(number)

    async def _stop(self) -> None:
        for process in self._running.values():
            _terminate(process)
        await asyncio.gather(*(process.wait() for process in self._running.values()))


def _terminate(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
