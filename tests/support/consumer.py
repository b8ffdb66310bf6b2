"""The consumer as a service: in this process beside a real registry, or as a process of Hospital South."""

from __future__ import annotations

import asyncio
import os
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

import registry.app
from consumer.app import Consumer
from consumer.settings import ConsumerSettings
from consumer.unit import Parts
from registry.settings import RegistrySettings
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.ebrim.schemes import ON_DEMAND
from shared.http.client import http_client
from shared.http.raw_asgi import PEER_CERTIFICATE, App
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.messages.iti61 import ITI61
from shared.security.authenticator import Authenticator
from shared.security.peer_certificate import fingerprint_of
from shared.settings import ServiceSettings, TlsSettings
from shared.soap.client import SoapClient
from tests.support.certificates import communities
from tests.support.metadata import a_submission
from xdsi.certificates import Community
from xdsi.community import Process
from xdsi.services import Service
from xdsi.stage import Stage, free_ports

REGISTRY = "http://127.0.0.1:8010"
_TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')


class Wire(httpx2.AsyncBaseTransport):
    """What leaves the consumer: noted, and handed to the registry in this process unless that is away."""

    def __init__(self, registry_app: App) -> None:
        self._registry = httpx2.ASGITransport(app=registry_app, client=("127.0.0.1", 50_000))
        self.sent: list[bytes] = []
        self.away: Exception | None = None
        self.silent = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(await request.aread())
        if self.silent:
            await asyncio.sleep(60)
        if self.away or request.url.port != 8010:
            raise self.away or httpx2.ConnectError("nobody listens there")
        return await self._registry.handle_async_request(request)


class KeptEvents(AuditRecorder):
    """A recorder that remembers its events, and can be made to fail."""

    def __init__(self, settings: ServiceSettings) -> None:
        super().__init__(settings, "consumer")
        self.events: list[AuditEvent] = []
        self.full = False

    async def record(self, events: Any) -> None:
        if self.full:
            raise AuditUnavailable("full")
        await super().record(events)
        self.events += events


@dataclass
class Desk:
    """A consumer in this process, and what stands around it."""

    consumer: Consumer
    recorder: KeptEvents
    wire: Wire
    soap: SoapClient
    base: str
    later: list[timedelta]
    """How much later it is for who verifies assertions."""

    async def register(self, *entries: Any) -> None:
        for entry in entries:
            transaction = ITI61 if entry.object_type == ON_DEMAND else ITI42
            response = await self.soap.call(
                transaction, f"{REGISTRY}/xds/registry", RegisterRequest.of(a_submission(entry))
            )
            assert response.errors == ()

    def client(self, node: Community | None = None, address: str = "127.0.0.1") -> httpx2.AsyncClient:
        """Who calls from a node: a program, or a browser with its cookies."""
        app = _showing(self.consumer.asgi, node) if node else self.consumer.asgi
        transport = httpx2.ASGITransport(app=app, client=(address, 50_000))
        return httpx2.AsyncClient(transport=transport, base_url=self.base)

    def told(self, code: str) -> list[AuditEvent]:
        """The events of one kind."""
        return [event for event in self.recorder.events if event.event_id.code == code]


def _showing(app: App, node: Community) -> App:
    """The application as a connection reaches it on which `node` showed its certificate."""
    certificate = x509.load_pem_x509_certificates(node.node.certificate.read_bytes())[0]
    der = certificate.public_bytes(Encoding.DER)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "extensions": {PEER_CERTIFICATE: der}}, receive, send)

    return asgi


@asynccontextmanager
async def desk(folder: Path, *, tls: bool = False, **changes: Any) -> AsyncIterator[Desk]:
    """A consumer of North beside a registry without TLS; settings of the registry are in `registry`.

    South's node may ask it for its users.
    """
    north, south = communities()
    believed = north.settings(south)
    rights = {"ask": (fingerprint_of(south.node.certificate),)}
    trust = believed if tls else {"assertion": believed["assertion"]}
    settings = ConsumerSettings.load(None, {}, **{"data": folder, "rights": rights, **trust, **changes})
    of_registry = {"data": folder, "patients": "any", "assertion": believed["assertion"], "mllp_port": 0}
    of_registry |= changes.pop("registry", {})
    served = await registry.app.build(RegistrySettings.load(None, {}, **of_registry))
    wire = Wire(served.asgi)
    http = http_client(TlsSettings(), peers=settings.peers, transport=wire)
    recorder = KeptEvents(settings)
    parts = replace(Parts.of(settings, recorder), http=http)
    later = [timedelta()]
    consumer = Consumer(parts, Authenticator(settings, clock=lambda: datetime.now(UTC) + later[0]))
    plain = http_client(TlsSettings(), peers=(REGISTRY,), transport=Wire(served.asgi))
    await served.start()
    await consumer.start()
    try:
        base = "https://127.0.0.1:8040" if tls else "http://127.0.0.1:8040"
        yield Desk(consumer, recorder, wire, SoapClient(plain, spool_folder=folder), base, later)
    finally:
        recorder.full = False
        await plain.aclose()
        await consumer.stop()
        await served.stop()


def saml(assertion: bytes) -> dict[str, str]:
    """The header by which a program brings a user's assertion."""
    return {"authorization": f"SAML {b64encode(assertion).decode()}"}


# --- a browser ---------------------------------------------------------------------------------------


def token_of(page: httpx2.Response) -> str:
    """The token in the forms of a page."""
    found = _TOKEN.search(page.text)
    assert found is not None, page.text
    return found[1]


async def sign_in(browser: httpx2.AsyncClient, assertion: bytes) -> httpx2.Response:
    """Bring an assertion to the page for it."""
    page = await browser.get("/sign-in")
    return await browser.post(
        "/sign-in", data={"token": token_of(page)}, files={"assertion": ("me.xml", assertion, "text/xml")}
    )


async def search(browser: httpx2.AsyncClient, patient: str, **narrowed: str) -> httpx2.Response:
    """Fill the search form and send it."""
    fields = {"patient_id": patient, "modality": "", "since": "", "before": "", **narrowed}
    return await browser.post("/search", data={"token": token_of(await browser.get("/")), **fields})


# --- as a process ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Running:
    """The consumer of Hospital South as a process."""

    process: Process
    url: str


@contextmanager
def consumer_process(stage: Stage, **settings: str) -> Iterator[Running]:
    """`xdsi serve consumer` with the settings of South; it must stop in order."""
    (port,) = free_ports(1)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDSI_")}
    environment |= {"XDSI_PORT": str(port), **settings}
    process = Process(
        Service.CONSUMER,
        environment,
        stage.folder / "south" / "log" / "consumer.log",
        stage.folder / "south.toml",
    )
    process.start()
    process.wait_ready()
    try:
        yield Running(process, process.url)
    except BaseException:
        process.kill()
        raise
    process.terminate()
    assert process.wait_stopped() == 0, process.last_words()
