"""A repository and a registry as processes, with something between them that can go wrong."""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from repository.settings import RepositorySettings
from shared.ebrim.model import Submission
from shared.errors import Actor
from shared.faults import SoapFault
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.registry import Status
from shared.settings import TlsSettings
from shared.soap.client import PeerError, SoapClient
from shared.soap.mtom import Received
from tests.support.forked import Program, program
from tests.support.metadata import a_document_entry, a_submission
from xdsi.stage import free_ports

ROOT = Path(__file__).parents[2]
GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
_READY_SECONDS = 60.0
_LIMIT = 2**16


class Way(Enum):
    """What becomes of a message between repository and registry."""

    PASS = auto()
    DOWN = auto()
    SILENT = auto()
    GARBAGE = auto()
    CUT_BEFORE = auto()
    CUT_AFTER_COMMIT = auto()
    HALF_AN_ANSWER = auto()


class Between:
    """A TCP relay to the registry that does what `way` says with each connection's next exchange."""

    def __init__(self, target: int) -> None:
        self.target = target
        [self.port] = free_ports(1)
        self.way = Way.PASS
        self.exchanges = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=_LIMIT)

    async def go(self, way: Way) -> None:
        """From now on; connections that are open are closed."""
        self.way = way
        await self._stop()
        if way is not Way.DOWN:
            await self.start()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def stop(self) -> None:
        await self._stop()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while request := await _http_message(reader):
                self.exchanges += 1
                if not await self._exchanged(request, writer):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if self.way is not Way.PASS else writer.close()

    async def _exchanged(self, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection lives on."""
        if self.way is Way.SILENT:
            await asyncio.sleep(3600)
        if self.way is Way.GARBAGE:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello")
            await writer.drain()
            return True
        if self.way is Way.CUT_BEFORE:
            return False
        answer = await self._asked(request)
        if self.way is Way.CUT_AFTER_COMMIT:
            return False
        writer.write(answer[: len(answer) // 2] if self.way is Way.HALF_AN_ANSWER else answer)
        await writer.drain()
        return self.way is Way.PASS

    async def _asked(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target, limit=_LIMIT)
        try:
            writer.write(request)
            await writer.drain()
            return await _http_message(reader)
        finally:
            writer.close()


async def _http_message(reader: asyncio.StreamReader) -> bytes:
    """One message with Content-Length; empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return b""
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)


@dataclass
class Sent:
    """One submission of one document, and what became of it."""

    submission: Submission
    octets: bytes
    message_id: str = field(default_factory=lambda: f"urn:uuid:{uuid4()}")
    acknowledged: bool = False
    codes: tuple[str, ...] = ()

    @property
    def unique_id(self) -> str:
        return self.submission.document_entries[0].unique_id


@dataclass
class Rig:
    """The two services; `folder` holds the data of both."""

    folder: Path
    between: Between
    port: int
    environment: dict[str, str]
    client: SoapClient
    _process: Program | None = None
    sent: list[Sent] = field(default_factory=list)

    @property
    def settings(self) -> RepositorySettings:
        return RepositorySettings.load(environ=self.environment)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/xds/repository"

    async def start(self, *, faults: dict[str, Any] | None = None, **more: str) -> bool:
        """Start the repository; False when a fault ended it before it was ready."""
        environment = self.environment | more
        if faults:
            environment["XDSI_FAULTS"] = json.dumps(faults)
        log = self.folder / "repository.log"
        self._process = program(
            "tests.support.unread", "tests.support.faulty_repository", env=os.environ | environment, log=log
        )
        return " ready " in await first_line(self._process)

    async def died(self, seconds: float = 20) -> None:
        """Wait for the end of the process."""
        assert self._process is not None
        try:
            await asyncio.to_thread(self._process.wait, seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError("it lives on") from None
        await ended(self._process)

    async def kill(self) -> None:
        """kill -9, whether or not it lives."""
        if self._process is not None:
            await ended(self._process)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # --- what people do ------------------------------------------------------------------------------

    async def provide(
        self, octets: bytes | None = None, *, again: Sent | None = None, seconds: float = 30
    ) -> Sent:
        """Send one document, or the same message `again`; what is answered is noted."""
        sent = again or Sent(
            a_submission(a_document_entry(hash="", size=None, repository_unique_id="")),
            os.urandom(3_000) if octets is None else octets,
        )
        if again is None:
            self.sent.append(sent)
        entry = sent.submission.document_entries[0]
        request = ProvideAndRegisterRequest.of(
            sent.submission, [ProvidedDocument(id=entry.entry_uuid, content=sent.octets)]
        )
        try:
            response = await self.client.call(
                ITI41, self.url, request, message_id=sent.message_id, timeout_seconds=seconds
            )
        except (SoapFault, PeerError) as error:
            sent.codes = (type(error).__name__,)
            return sent
        sent.codes = tuple(error.code_for(Actor.REPOSITORY) for error in response.errors)
        sent.acknowledged |= response.status is Status.SUCCESS
        return sent

    async def provide_until_settled(self, sent: Sent, attempts: int = 5) -> None:
        """Send again as long as the answer is "later": a slow machine may keep the registry waiting."""
        for _ in range(attempts):
            await self.provide(again=sent)
            if sent.codes != ("XDSRegistryNotAvailable",):
                return
            await self.settled()

    async def retrieve(self, unique_id: str) -> bytes | None:
        """The bytes of a document, or None."""
        asked = DocumentRequest(
            repository_unique_id=self.settings.repository_unique_id, document_unique_id=unique_id
        )
        response = await self.client.call(ITI43, self.url, RetrieveDocumentSetRequest(documents=(asked,)))
        if not response.documents:
            return None
        content = response.documents[0].content
        if not isinstance(content, Received):
            assert isinstance(content, bytes)
            return content
        octets = await asyncio.to_thread(content.path.read_bytes)
        content.path.unlink()
        return octets

    async def entries(self, unique_ids: Sequence[str]) -> list[str]:
        """The uniqueIds of the entries that the registry shows, one for each entry."""
        response = await self.client.call(
            ITI18,
            f"http://127.0.0.1:{self.between.target}/xds/registry",
            StoredQueryRequest(
                query_id=GET_DOCUMENTS,
                return_type=ReturnType.LEAF_CLASS,
                parameters=encode_parameters({"$XDSDocumentEntryUniqueId": tuple(unique_ids)}),
            ),
        )
        assert not response.errors, response.errors
        return [entry.unique_id for entry in response.objects.document_entries]

    # --- what must hold ------------------------------------------------------------------------------

    async def settled(self, seconds: float = 20) -> None:
        """Wait until no submission is without an outcome."""
        deadline = asyncio.get_running_loop().time() + seconds
        while left := self.rows("SELECT count(*) FROM provision WHERE state IN ('pending', 'in_doubt')")[0][
            0
        ]:
            assert asyncio.get_running_loop().time() < deadline, f"{left} submissions have no outcome"
            await asyncio.sleep(0.05)

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of the repository's database, beside the process."""
        path = self.settings.folder / "repository.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return connection.execute(statement).fetchall()

    async def check(self) -> None:
        """0 acknowledged documents lost or altered, 0 dangling entries, nothing registered twice, and the
        database is sound."""
        for sent in self.sent:
            if sent.acknowledged:
                assert await self.retrieve(sent.unique_id) == sent.octets, (
                    "an acknowledged document is not there"
                )
        by_id = {sent.unique_id: sent for sent in self.sent}
        shown = []
        names = list(by_id)
        for start in range(0, len(names), 200):
            shown += await self.entries(names[start : start + 200])
        assert len(shown) == len(set(shown)), "an entry was registered twice"
        for unique_id in shown:
            assert await self.retrieve(unique_id) == by_id[unique_id].octets, "an entry dangles"
        assert {sent.unique_id for sent in self.sent if sent.acknowledged} <= set(shown)
        assert self.rows("PRAGMA integrity_check") == [("ok",)]

    def blobs(self) -> set[str]:
        """The digests of what is kept."""
        return {one.name for one in (self.settings.folder / "blobs").rglob("*") if one.is_file()}

    def wanted(self) -> set[str]:
        """The digests that the index refers to."""
        return {row[0] for row in self.rows("SELECT sha256 FROM document")}


async def first_line(process: Program) -> str:
    """What a program prints first; empty when it ends without a word."""
    assert process.stdout is not None
    return await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), _READY_SECONDS)


async def started(log: Path, *words: str, environment: dict[str, str]) -> Program:
    """A service of the product as a process that is ready."""
    process = program("xdsi", "serve", *words, env=os.environ | environment, log=log)
    assert " ready " in await first_line(process)
    return process


async def ended(process: Program) -> None:
    """kill -9."""
    process.kill()
    await asyncio.to_thread(process.wait)
    if process.stdout is not None:
        process.stdout.close()


@asynccontextmanager
async def a_rig(folder: Path, **changes: str) -> AsyncIterator[Rig]:
    """A registry that runs, a relay before it, and a repository that is to be started."""
    registry_port, mllp, port = free_ports(3)
    between = Between(registry_port)
    common = {
        "XDSI_DATA": str(folder / "data"),
        "XDSI_PATIENTS": "any",
        "XDSI_AUDIT__URL": "tcp://127.0.0.1:9",
        "XDSI_REGISTRY__PORT": str(registry_port),
        "XDSI_REGISTRY__MLLP_PORT": str(mllp),
        "XDSI_REPOSITORY__PORT": str(port),
        "XDSI_REGISTRY_URL": f"http://127.0.0.1:{between.port}/xds/registry",
        "XDSI_RETRY_SECONDS": "0.2",
        "XDSI_REGISTRATION_TIMEOUT_SECONDS": "1.0",
        **changes,
    }
    registry_data = {"XDSI_DATA": str(folder / "registry-data")}
    registry = await started(folder / "registry.log", "registry", environment=common | registry_data)
    spool = folder / "client"
    spool.mkdir(exist_ok=True)
    peers = (f"http://127.0.0.1:{port}", f"http://127.0.0.1:{registry_port}")
    async with http_client(TlsSettings(), peers=peers, timeout_seconds=30) as http:
        rig = Rig(folder, between, port, common, SoapClient(http, spool_folder=spool))
        try:
            await between.start()
            yield rig
        finally:
            await rig.kill()
            await between.stop()
            await ended(registry)


# --- failing input and output ------------------------------------------------------------------------


class FailingIo:
    """Lets the Nth write, sync, rename or link of a process below a folder fail (failing_io.c)."""

    def __init__(self, folder: Path, library: Path, below: Path) -> None:
        self._path = folder / "failing-io"
        self._path.write_bytes(bytes(4096))
        with self._path.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 4096)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAILING_IO_CONTROL": str(self._path),
            "FAILING_IO_FOLDER": str(below),
        }

    def arm(self, nth: int, error: int, *, persistent: bool = False) -> None:
        self._control[:24] = struct.pack("6i", 0, nth, error, persistent, 0, 0)
        self._control[:4] = struct.pack("i", 1)

    def disarm(self) -> tuple[int, int]:
        """How many calls failed, and how many there were."""
        self._control[:4] = struct.pack("i", 0)
        *_, hits, calls = struct.unpack("6i", self._control[:24])
        return hits, calls

    def close(self) -> None:
        self._control.close()


def compiled(folder: Path, name: str = "failing_io") -> Path:
    """A library of this folder that a process loads first; the test is skipped without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is installed; apt install gcc")
    library = folder / f"{name}.so"
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library
