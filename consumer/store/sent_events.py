"""Which audit events a consumer that has ended had sent, so that the next one does not send them for ever.

Syslog over TLS has no acknowledgement: the forwarder keeps what it sent for a minute on a living connection,
longer than a command lives. What an ended consumer had sent is therefore sent once more by the next one in
that minute, which the repository knows by its bytes, and is let go after it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path

from shared.audit.delivery import KEPT_SECONDS
from shared.audit.spool import Spool


class SentEvents:
    """The note in the folder of a session."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "sent-events.json"

    def remember(self, sequences: Mapping[str, int]) -> None:
        """Note up to where everything was sent just now, by destination."""
        if sequences:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_text(json.dumps({"sent": dict(sequences), "time": time.time()}), "ascii")

    async def forget_old(self, spool: Spool) -> None:
        """Let go of what was sent longer ago than a forwarder would keep it."""
        try:
            note = json.loads(self._path.read_text("ascii"))
            sequences = {str(name): int(sequence) for name, sequence in note["sent"].items()}
            age = time.time() - float(note["time"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        if age > KEPT_SECONDS:
            for name, sequence in sequences.items():
                reader = spool.reader(name)
                await reader.done([sequence])
                reader.rewind()
