"""Records that the audit repository does not take, kept aside for an operator so that the others go on.

Each is one file, named by its time and digest, that holds the syslog message as it would have been sent. A
file that is moved away is forgotten: should its record still wait, it is sent again.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from shared.store.folders import make_folder, sync

#: What the folder holds at most; beyond it the oldest goes.
MOST: Final = 1_000
MOST_OCTETS: Final = 64 * 1024**2
_SUFFIX: Final = ".record"


class SetAside:
    """The folder, and what is in it; made when the first record comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, int] = {}
        self.look()

    @property
    def number(self) -> int:
        """How many there are, since `look`."""
        return len(self._sizes)

    def look(self) -> None:
        """Read anew what is there; an operator takes files away."""
        self._sizes = {path.name: path.stat().st_size for path in self._paths()}

    def holds(self, octets: bytes) -> bool:
        """Whether this record was set aside."""
        if not self._sizes or len(octets) not in self._sizes.values():
            return False
        ending = f"-{digest(octets)}{_SUFFIX}"
        return any(name.endswith(ending) for name in self._sizes)

    def keep(self, octets: bytes) -> tuple[str, int]:
        """Keep a record, durably; the name of its file, and how many older ones had to go.

        Raises
        ------
        OSError
            It could not be written.
        """
        make_folder(self._folder)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{digest(octets)}{_SUFFIX}"
        self._write(self._folder / name, octets)
        self.look()
        gone = 0
        while len(self._sizes) > 1 and (len(self._sizes) > MOST or sum(self._sizes.values()) > MOST_OCTETS):
            oldest = min(self._sizes)
            (self._folder / oldest).unlink(missing_ok=True)
            del self._sizes[oldest]
            gone += 1
        return name, gone

    def _write(self, path: Path, octets: bytes) -> None:
        beginning = path.with_suffix(".new")
        descriptor = os.open(beginning, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        beginning.rename(path)
        sync(self._folder)

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{_SUFFIX}"))


def digest(octets: bytes) -> str:
    """The SHA-256 of a record, in hexadecimal."""
    return sha256(octets).hexdigest()
