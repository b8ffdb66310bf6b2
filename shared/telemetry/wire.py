"""Messages as files, for who develops or looks for a fault: each request and its answer, as on the wire.

They hold all that a message holds, patients and assertions too: the settings allow this on loopback without
TLS alone.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from shared.telemetry.log import logger

MAX_OCTETS: Final = 1024**2
MAX_FILES: Final = 2_000

_log = logger(__name__)


class Message:
    """The octets of one message, up to a bound."""

    def __init__(self, octets: bytes = b"") -> None:
        self._kept = bytearray()
        self._octets = 0
        self.add(octets)

    def add(self, octets: bytes) -> None:
        """Add what came or went."""
        self._octets += len(octets)
        self._kept += octets[: MAX_OCTETS - len(self._kept)]

    def __bytes__(self) -> bytes:
        left_out = self._octets - len(self._kept)
        note = b"\n[%d further octets are left out]\n" % left_out if left_out else b""
        return bytes(self._kept) + note


class WireFolder:
    """A folder of messages, for this user alone; the oldest go when there are too many."""

    def __init__(self, folder: Path, service: str) -> None:
        """Keep the messages of `service` below `folder`."""
        self._folder = folder / service.replace("_", "-")

    async def keep(self, trace_id: str, ending: str, request: Message, answer: Message) -> None:
        """Keep one exchange as two files, named by time and trace; a failure is a line in the log."""
        try:
            await asyncio.to_thread(self._keep, trace_id, ending, bytes(request), bytes(answer))
        except OSError as error:
            _log.warning("an exchange is not kept in XDSI_WIRE_FOLDER", exc_info=error)

    def _keep(self, trace_id: str, ending: str, request: bytes, answer: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{trace_id}"
        for part, octets in (("1-request", request), ("2-answer", answer)):
            _write(self._folder / f"{stem}-{part}.{ending}", octets)
        for old in sorted(self._folder.iterdir())[:-MAX_FILES]:
            old.unlink(missing_ok=True)


def _write(path: Path, octets: bytes) -> None:
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(made, "wb") as file:
        file.write(octets)
