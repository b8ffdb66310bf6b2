"""Which audit events a consumer that has ended had sent, so that the next one does not send them for ever.

Syslog over TLS has no acknowledgement: the forwarder keeps what it sent for a minute on a living connection,
longer than a command lives. What an ended consumer had sent is therefore sent once more by the next one in
that minute, which the repository knows by its bytes, and is let go after it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from shared.audit.forwarder import KEPT_SECONDS
from shared.audit.spool import Spool

_BATCH = 200


class SentEvents:
    """The note in the folder of a session."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sent-events.json"

    def remember(self, sequence: int | None) -> None:
        """Note that everything up to `sequence` was sent just now; None when nothing was."""
        if sequence is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"sequence": sequence, "time": time.time()}), "ascii")

    async def forget_old(self, spool: Spool) -> None:
        """Let go of what was sent longer ago than a forwarder would keep it."""
        try:
            note = json.loads(self._path.read_text("ascii"))
            sequence, sent = int(note["sequence"]), float(note["time"])
        except (OSError, ValueError, KeyError, TypeError):
            return
        if time.time() - sent <= KEPT_SECONDS:
            return
        # A spool lets go only of what was handed out.
        while (batch := await spool.next(_BATCH)) and batch[-1][0] < sequence:
            pass
        await spool.done([sequence])
        spool.rewind()
