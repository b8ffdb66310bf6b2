"""What one request of the conformance service works with, and what all of them share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.judging import report_of
from conformance.recognition import Kind
from conformance.settings import ConformanceSettings
from conformance.shelf import Shelf
from shared.http.gate import Gate
from shared.http.problem import NotFound, TooLarge, Unavailable, Unprocessable
from shared.http.raw_asgi import ServerBusy
from shared.perform import UnitOfWork
from shared.security.caller import Caller

_PATIENCE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file as it arrives, and what is said about it.

    `name` says to people what it is called; `kind` is as what it is to be judged, None when it is to be
    recognised; `trust` are the certificates, PEM, of who may sign, empty where nobody said it.
    """

    name: str
    kind: Kind | None
    trust: str
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A report, and the id under which it is kept."""

    id: str
    report: Mapping[str, Any]


class Parts:
    """What every unit of the service shares."""

    def __init__(self, settings: ConformanceSettings) -> None:
        self.settings = settings
        self.uploads = settings.folder / "uploads"
        self._shelf = Shelf(settings.folder / "reports", settings.max_reports)
        self._gate = Gate(settings.judgements + 1)

    async def judge(self, caller: Caller, file: SentFile) -> Judged:
        """Judge a file, and keep the report.

        Raises
        ------
        TooLarge
            It is longer than files may be here.
        Unavailable
            So many are judged now that there was no place in time.
        """
        try:
            async with self._gate.waited_for(caller.node.peer, seconds=_PATIENCE_SECONDS):
                with self._file() as path:
                    await self._receive(file.chunks, path)
                    report = await report_of(
                        path,
                        file.name,
                        file.kind,
                        trust=file.trust,
                        seconds=self.settings.judgement_seconds,
                    )
        except ServerBusy:
            raise Unavailable("too many files are judged now; try again in a moment") from None
        return Judged(id=await asyncio.to_thread(self._shelf.put, report), report=report)

    async def report(self, id: str) -> Judged:
        """The report of an id; raises NotFound when there is none, or no more."""
        report = await asyncio.to_thread(self._shelf.find, id)
        if report is None:
            raise NotFound("there is no such report, or it made room for newer ones; judge the file again")
        return Judged(id=id, report=report)

    @contextmanager
    def _file(self) -> Iterator[Path]:
        path = self.uploads / secrets.token_hex(16)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    async def _receive(self, chunks: AsyncIterator[bytes], path: Path) -> None:
        length, most = 0, self.settings.max_file_bytes
        with path.open("xb") as file:
            async for chunk in chunks:
                length += len(chunk)
                if length > most:
                    raise TooLarge(f"the file is longer than {most} bytes; xdsi validate takes any length")
                await asyncio.to_thread(file.write, chunk)
        if not length:
            raise Unprocessable("the file is empty; send the file that is to be judged")


class Unit(UnitOfWork[Parts]):
    """What one request works with."""
