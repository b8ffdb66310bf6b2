"""A simulated Audit Record Repository (ITI-20): syslog with octet counting, kept as it came."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from conformance.simulators.server import SecuredServer

_MOST_LENGTH: Final = 9
_MOST_OCTETS: Final = 16 * 1024**2


class Reception(StrEnum):
    """How records are received."""

    RIGHT = "right"
    REFUSES = "refuses"
    """Each connection is closed at once."""
    CLOSES = "closes"
    """A connection is closed after its first record."""
    SILENT = "silent"
    """Connections are taken, and nothing is read."""


@dataclass(slots=True)
class SyslogSimulator:
    """A server that listens at `url`; what came whole is in `records`, and what is no frame in `broken`."""

    url: str
    records: list[bytes] = field(default_factory=list)
    broken: list[bytes] = field(default_factory=list)
    connections: int = 0


@contextmanager
def syslog_simulator(
    reception: Reception = Reception.RIGHT,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[SyslogSimulator]:
    """A server until the end of the context; port 0 takes a free one.

    Raises
    ------
    OSError
        The address cannot be listened on.
    """
    ending = threading.Event()
    simulator = SyslogSimulator("")

    class SyslogConnection(socketserver.StreamRequestHandler):
        def setup(self) -> None:
            simulator.connections += 1
            super().setup()

        def handle(self) -> None:
            if reception is Reception.SILENT:
                ending.wait()
            elif reception is not Reception.REFUSES:
                with suppress(OSError):
                    self._receive()

        def _receive(self) -> None:
            while (record := _frame(self.rfile, simulator)) is not None:
                simulator.records.append(record)
                if reception is Reception.CLOSES:
                    return

    server = SecuredServer((host, port), SyslogConnection)
    server.tls = tls
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    simulator.url = f"{'tls' if tls else 'tcp'}://{host}:{server.server_address[1]}"
    try:
        yield simulator
    finally:
        ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _frame(file: Any, simulator: SyslogSimulator) -> bytes | None:
    """The next record; None at the end, or when what comes is no frame of RFC 5425."""
    digits = b""
    while (octet := file.read(1)) != b" ":
        if not octet:
            return None
        digits += octet
        if not octet.isdigit() or digits.startswith(b"0") or len(digits) > _MOST_LENGTH:
            simulator.broken.append(digits)
            return None
    length = int(digits or b"0")
    record = file.read(min(length, _MOST_OCTETS))
    if len(record) < length:
        simulator.broken.append(record)
        return None
    return bytes(record)
