"""A registry as a process of its own, on sockets, and its clients: SOAP on many connections, and the feed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from registry.domain.stored_queries import StoredQuery
from shared.ebrim.codec import RegistryObjects
from shared.ebrim.model import Submission
from shared.ebrim.query_values import Value
from shared.errors import Actor, Severity
from shared.http.client import http_client
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from shared.soap.transaction import SoapTransaction
from xdsi.community import Process
from xdsi.patient import END, START
from xdsi.services import Service
from xdsi.stage import free_ports, write_toml


class RegistryProcess:
    """`xdsi serve registry` at ports of its own; `changes` are further settings."""

    def __init__(self, folder: Path, database_url: str | None = None, **changes: Any) -> None:
        port, self.feed_port = free_ports(2)
        settings = {
            "data": str(folder / "data"),
            "port": port,
            "mllp_port": self.feed_port,
            # Nobody listens there: the trail stays in its outbox and spool.
            "audit": {"url": "tcp://127.0.0.1:9"},
            **({"database_url": database_url} if database_url else {}),
            **changes,
        }
        self.base = f"{'https' if 'tls' in changes else 'http'}://127.0.0.1:{port}"
        self.url = f"{self.base}/xds/registry"
        self.process = Process(
            Service.REGISTRY,
            {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")},
            folder / "registry.log",
            write_toml(folder / "registry.toml", settings),
        )

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.process.start()
        self.process.wait_ready()

    def kill_and_start(self) -> None:
        """End it as a crash does, and start it again."""
        self.process.kill()
        self.start()

    @property
    def log(self) -> str:
        """What it has logged."""
        return self.process.log.read_text("utf-8", "replace")


@contextmanager
def running_registry(
    folder: Path, database_url: str | None = None, **changes: Any
) -> Iterator[RegistryProcess]:
    """A registry that runs; at the end it must stop in order, with exit status 0."""
    registry = RegistryProcess(folder, database_url, **changes)
    try:
        registry.start()
        yield registry
    except BaseException:
        registry.process.kill()
        raise
    registry.process.terminate()
    status = registry.process.wait_stopped()
    assert status == 0, registry.process.last_words()


class RegistryClient:
    """Asks a registry by SOAP, on as many connections as there are calls at once."""

    def __init__(self, soap: SoapClient, url: str) -> None:
        self._soap = soap
        self._url = url

    async def call(self, transaction: SoapTransaction[Any, Any], request: Any, message_id: str = "") -> Any:
        """The answer; raises as `SoapClient.call` does."""
        return await self._soap.call(
            transaction, self._url, request, message_id=message_id or f"urn:uuid:{uuid4()}"
        )

    async def ask(
        self, transaction: SoapTransaction[Any, Any], request: Any, message_id: str = ""
    ) -> frozenset[str]:
        """The error codes of the answer; none is Success."""
        return error_codes(await self.call(transaction, request, message_id))

    async def register(self, submission: Submission, message_id: str = "") -> frozenset[str]:
        """The error codes of a registration; none is Success."""
        return await self.ask(ITI42, RegisterRequest.of(submission), message_id)

    async def query(
        self, query: StoredQuery, parameters: Mapping[str, Value | Sequence[Value]]
    ) -> RegistryObjects:
        """The objects of the answer to a stored query, which has no errors."""
        request = StoredQueryRequest(
            query_id=query.query_id,
            return_type=ReturnType.LEAF_CLASS,
            parameters=encode_parameters(parameters),
        )
        response = await self.call(ITI18, request)
        assert not response.errors
        found: RegistryObjects = response.objects
        return found


def error_codes(response: Any) -> frozenset[str]:
    """The codes of the errors in an answer, without warnings."""
    return frozenset(
        error.code_for(Actor.REGISTRY) for error in response.errors if error.severity is Severity.ERROR
    )


@asynccontextmanager
async def client_of(
    registry: RegistryProcess, assertion: bytes | None = None
) -> AsyncIterator[RegistryClient]:
    """A client of a registry, for the user of `assertion`."""
    async with http_client(TlsSettings(), peers=(registry.base,)) as http:
        yield RegistryClient(SoapClient(http, assertion=lambda: assertion), registry.url)


async def fed(registry: RegistryProcess, octets: bytes) -> bytes:
    """The acknowledgement of one message of the feed, on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", registry.feed_port)
    try:
        writer.write(START + octets + END)
        answer = await reader.readuntil(END)
    finally:
        writer.close()
        await writer.wait_closed()
    return answer[len(START) : -len(END)]
