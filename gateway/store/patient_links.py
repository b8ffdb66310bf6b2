"""The file of patient links, read again when it changes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.domain.links import Links, LinksError, read_links
from shared.telemetry.log import logger

_log = logger(__name__)

Version = tuple[int, int, int]


class PatientLinks:
    """The links in `path`; none without a path.

    A file that cannot be read, or not now, leaves the links of before in force: `check` says so.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._links = Links()
        self._version: Version | None = None
        self._problem = ""
        self._reading = asyncio.Lock()

    async def current(self) -> Links:
        """The links as the file has them now."""
        if self._path is None:
            return self._links
        async with self._reading:
            await asyncio.to_thread(self._refresh, self._path)
        return self._links

    async def check(self) -> None:
        """Raise `LinksError` when the file, as it is now, cannot be used."""
        await self.current()
        if self._problem:
            raise LinksError(self._problem)

    def _refresh(self, path: Path) -> None:
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            with path.open(encoding="utf-8", newline="") as lines:
                self._links = read_links(lines)
            self._version, self._problem = version, ""
        except (OSError, UnicodeDecodeError, LinksError) as error:
            if str(error) != self._problem:
                _log.error("patient links cannot be read", reason=str(error))
            self._problem = str(error)
