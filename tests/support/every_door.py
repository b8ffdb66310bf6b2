"""Every service of a community on real sockets, and every door: SOAP, REST, DIMSE, MLLP, syslog.

The doors are found where they are served: in the tuples of transactions and the routes of the applications.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import ssl
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pydicom
from pynetdicom import AE
from starlette.applications import Starlette

import audit_repository.app
import conformance.app
import consumer.app
import gateway.app
import identity.app
import imaging_source.app
import registry.app
import repository.app
from audit_repository.pages import SERVED_REST as PAGES_OF_TRAIL
from audit_repository.settings import AuditRepositorySettings
from conformance.pages import SERVED_REST as PAGES_OF_CONFORMANCE
from conformance.settings import ConformanceSettings
from consumer.pages import SERVED_REST as PAGES_OF_CONSUMER
from consumer.settings import ConsumerSettings
from gateway.settings import GatewaySettings
from gateway.transactions import INITIATING, RESPONDING
from identity.pages import SERVED_REST as PAGES_OF_IDENTITY
from identity.settings import IdentitySettings
from identity.transactions import SERVED as OF_IDENTITY
from imaging_source.pages import SERVED_REST as PAGES_OF_SOURCE
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from imaging_source.transactions import SERVED as OF_SOURCE
from registry.settings import RegistrySettings
from registry.transactions import SERVED as OF_REGISTRY
from repository.settings import RepositorySettings
from repository.transactions import SERVED as OF_REPOSITORY
from shared.audit.syslog import frame
from shared.hl7v2.mllp import framed
from shared.http.client import http_client
from shared.http.server import start_server
from shared.pages.forms import MULTIPART, FormBody
from shared.pages.site import Site
from shared.rest.served import ServedRest
from shared.security.tls import client_context
from shared.settings import ServiceSettings, TlsSettings
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from shared.soap.served import Served
from tests.support.audit import SOURCE, an_event
from tests.support.certificates import RADIOLOGIST, assertion_for
from tests.support.consumer import token_of
from tests.support.dicom import a_ct, part10
from tests.support.dimse import COMMITMENT, STUDY_FIND, STUDY_GET, STUDY_MOVE, identifier
from tests.support.metadata import PATIENT
from tests.support.orders import orm
from xdsi.certificates import Community
from xdsi.patient import message as adt
from xdsi.stage import free_ports

SERVICES: dict[str, tuple[Any, type[ServiceSettings]]] = {
    "registry": (registry.app, RegistrySettings),
    "repository": (repository.app, RepositorySettings),
    "imaging source": (imaging_source.app, ImagingSourceSettings),
    "consumer": (consumer.app, ConsumerSettings),
    "gateway": (gateway.app, GatewaySettings),
    "audit repository": (audit_repository.app, AuditRepositorySettings),
    "identity": (identity.app, IdentitySettings),
    "conformance": (conformance.app, ConformanceSettings),
}
SOAP: tuple[tuple[str, str, tuple[Served[Any, Any], ...]], ...] = (
    ("registry", "/xds/registry", OF_REGISTRY),
    ("repository", "/xds/repository", OF_REPOSITORY),
    ("imaging source", "/xds/imaging-source", OF_SOURCE),
    ("gateway", "/xca/initiating", INITIATING),
    ("gateway", "/xca/responding", RESPONDING),
    ("identity", "/trust", OF_IDENTITY),
)
_TABLES = {settings_class.service for _, settings_class in SERVICES.values()}
#: The pages of services by their routes, ids filled in.
OF_PAGES: dict[str, dict[str, ServedRest[Any, Any]]] = {
    service: {re.sub(r"\{[^}]*\}", "1", route): one for one in served for route in one.routes}
    for service, served in (
        ("consumer", PAGES_OF_CONSUMER),
        ("imaging source", PAGES_OF_SOURCE),
        ("audit repository", PAGES_OF_TRAIL),
        ("identity", PAGES_OF_IDENTITY),
        ("conformance", PAGES_OF_CONFORMANCE),
    )
}
ANYWHERE = {"port": 0, "mllp_port": 0, "hl7_port": 0, "dimse_port": 0, "syslog_port": 0}
#: The one AE title that calls; it has no certificate, so that its node needs its rights itself.
ENTITIES = {"XDSI": {"host": "127.0.0.1", "services": [service.value for service in DimseService]}}


@dataclass
class House:
    """The services that run, by name, and where each listens."""

    services: dict[str, Any] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    scheme: str = "http"

    def url(self, service: str, path: str = "") -> str:
        """An address of a service."""
        return f"{self.scheme}://127.0.0.1:{self.ports[service]}{path}"

    def routes(self) -> Iterator[tuple[str, str, str]]:
        """Service, method and path of everything that is served over HTTP, ids filled in."""
        for name, path, _ in SOAP:
            yield name, "POST", path
            yield name, "GET", path
        for name, service in self.services.items():
            for route in _routes(service.asgi):
                for method in sorted((route.methods or {"GET"}) - {"HEAD"}):
                    yield name, method, re.sub(r"\{[^}]*\}", "1", route.path)

    @property
    def listeners(self) -> dict[str, int]:
        """Every port that is listened on, by what it speaks."""
        return self.ports | {
            "MLLP": self.services["registry"].feed_port,
            "MLLP of the imaging source": self.services["imaging source"].hl7_port,
            "DIMSE": self.services["imaging source"].dimse.port,
            "syslog": self.services["audit repository"].syslog.port,
        }


def _routes(asgi: Any) -> Iterator[Any]:
    """The routes of the application behind whatever was put before it."""
    if isinstance(asgi, Starlette):
        yield from asgi.routes
    elif isinstance(asgi, Site):
        yield from _routes(asgi._application)
    elif inspect.isfunction(asgi):
        for inner in inspect.getclosurevars(asgi).nonlocals.values():
            yield from _routes(inner)


def _refusal(answer: httpx2.Response) -> str:
    """What is told to who is not let in; empty where the answer is none of that."""
    return answer.text if answer.status_code in (401, 403) else ""


async def form_for(
    http: httpx2.AsyncClient, served: ServedRest[Any, Any], assertion: bytes
) -> dict[str, Any]:
    """What a browser sends for a page or a form of the service at which `http` is: a form is filled in."""
    if not isinstance(served.decode, FormBody):
        return {}
    page = await http.get("/sign-in")
    if page.status_code == httpx2.codes.NOT_FOUND:
        page = await http.get("/")
    # Who is not let in is shown no form.
    token = token_of(page) if page.status_code == httpx2.codes.OK else ""
    fields = {"token": token, "patient_id": "P-1001", "patient": "P-1001"}
    if served.decode.media_type == MULTIPART:
        return {"data": fields, "files": {"assertion": ("me.xml", assertion, "text/xml")}}
    return {"data": fields}


def acquainted() -> dict[str, Any]:
    """Settings by which the services of a house find one another: ports, and what is there."""
    ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
    url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    return {
        **{name.replace(" ", "_"): {"port": port} for name, port in ports.items()},
        "registry_url": f"{url['registry']}/xds/registry",
        "repository_url": f"{url['repository']}/xds/repository",
        "imaging_source_url": f"{url['imaging source']}/xds/imaging-source",
        "dicomweb_peers": [url["imaging source"]],
    }


@asynccontextmanager
async def a_house(
    folder: Path, trust: Mapping[str, Any] | None = None, **changes: Any
) -> AsyncIterator[House]:
    """Every service of one community, in this process, on free ports."""
    house = House(scheme="https" if trust else "http")
    given = {
        "data": folder,
        "audit": {"url": "tcp://127.0.0.1:9"},
        "imaging_source": {"application_entities": ENTITIES},
        "identity": {"clients": {"xdsi-pages": {"redirect_uris": ["https://pages.example/back"]}}},
        **ANYWHERE,
        **(trust or {}),
        **changes,
    }
    roles = (str(RADIOLOGIST),)
    given["audit_repository"] = {
        "auditor_roles": roles,
        "patient_roles": roles,
        "privacy_officer_roles": roles,
        **given.get("audit_repository", {}),
    }
    given["imaging_source"] = {"operator_roles": roles, **given.get("imaging_source", {})}
    async with AsyncExitStack() as stack:
        for name, (module, settings_class) in SERVICES.items():
            own = {name: value for name, value in given.items() if name not in _TABLES}
            settings = settings_class.load(None, {}, **(own | given.get(settings_class.service, {})))
            service = await module.build(settings)
            await service.start()
            stack.push_async_callback(service.stop)
            server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)
            stack.push_async_callback(server.stop, 1.0)
            house.services[name] = service
            house.ports[name] = server.port
        yield house


@dataclass
class Visit:
    """A node that tries every door, for a clinician of its own where a door is for users."""

    house: House
    node: Community

    def client(self) -> httpx2.AsyncClient:
        """Its HTTP client."""
        tls = TlsSettings(**self.node.settings()["tls"])
        return http_client(tls, peers=[self.house.url(name) for name in self.house.ports])

    def context(self) -> ssl.SSLContext:
        """Its TLS, for other protocols."""
        context = client_context(TlsSettings(**self.node.settings()["tls"]))
        context.check_hostname = False
        return context

    async def tried(self) -> dict[str, str]:
        """What each door answers, by its name in the table; empty where the node was let in."""
        found: dict[str, str] = {}
        async with self.client() as http:
            for service, path, all_served in SOAP:
                for served in all_served:
                    door = served.transaction.number
                    found[f"{door} {path}"] = await self._soap(http, self.house.url(service, path), served)
            for service, method, path, headers in self._rest():
                answer = await http.request(method, self.house.url(service, path), headers=headers)
                found[f"{method} {path}"] = _refusal(answer)
            for service in OF_PAGES:
                found |= await self._at_the_pages(http, service)
        found["ITI-8"] = await self._fed("MLLP", adt("A04", patient=PATIENT))
        found["RAD-13"] = await self._fed("MLLP of the imaging source", orm())
        found |= await asyncio.to_thread(self._associated)
        found["ITI-20"] = await self._recorded()
        return found

    async def _soap(self, http: httpx2.AsyncClient, url: str, served: Served[Any, Any]) -> str:
        transaction = served.transaction
        namespace, _, name = transaction.body_root[1:].partition("}")
        body = f'<{name} xmlns="{namespace}"/>'.encode()
        assertion = assertion_for("dr.south", self.node)
        envelope = encode_request(transaction.action, "urn:uuid:1", url, body, assertion)
        kind = "application/soap+xml; charset=UTF-8"
        content = envelope
        if transaction.mtom:
            kind, pieces = write_package(envelope, ())
            content = b"".join(pieces)  # type: ignore[arg-type]
        answer = await http.post(url, content=content, headers={"content-type": kind})
        return answer.text if "FailedAuthentication" in answer.text else ""

    def _rest(self) -> Iterator[tuple[str, str, str, dict[str, str]]]:
        """Every route that is not of SOAP and no page, and what a program of this node would send along."""
        assertion = assertion_for("dr.south", self.node)
        bearer = {"authorization": f"Bearer {urlsafe_b64encode(assertion).rstrip(b'=').decode()}"}
        saml = {"authorization": f"SAML {b64encode(assertion).decode()}"}
        endpoints = {path for _, path, _ in SOAP}
        for service, method, path in self.house.routes():
            if path not in endpoints and f"{method} {path}" not in OF_PAGES.get(service, {}):
                yield service, method, path, saml if path.startswith("/api/") else bearer

    async def _at_the_pages(self, http: httpx2.AsyncClient, service: str) -> dict[str, str]:
        """The pages, for a person who signs in first, where that is let be, and out at the end."""
        http.base_url = httpx2.URL(self.house.url(service))
        pages = OF_PAGES[service]
        # Who is the patient may see that patient's own log.
        assertion = assertion_for("dr.south", self.node, resource_ids=(PATIENT,))
        found: dict[str, str] = {}
        for route in sorted(pages, key=lambda route: (route != "POST /sign-in", route == "POST /sign-out")):
            method, _, path = route.partition(" ")
            sent = await form_for(http, pages[route], assertion)
            found[route] = _refusal(await http.request(method, path, **sent))
        return found

    async def _fed(self, listener: str, message: bytes) -> str:
        port = self.house.listeners[listener]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.context())
        writer.write(framed(message))
        answer = (await reader.readuntil(b"\x1c\x0d")).decode()
        writer.close()
        return answer if "\rMSA|AR" in answer else ""

    async def _recorded(self) -> str:
        from shared.audit.recorder import message

        port = self.house.listeners["syslog"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=self.context())
        writer.write(frame(message(an_event(), SOURCE)))
        try:
            async with asyncio.timeout(1.0):
                return "closed: XDSI_RIGHTS__RECORD" if await reader.read() == b"" else ""
        except TimeoutError:
            return ""
        finally:
            writer.close()

    def _associated(self) -> dict[str, str]:
        instance = part10(a_ct())
        data_set = pydicom.dcmread(BytesIO(instance))
        entity = AE("XDSI")  # a name proves nothing
        entity.add_requested_context(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID)
        for model in ("1.2.840.10008.1.1", COMMITMENT, STUDY_FIND, STUDY_MOVE, STUDY_GET):
            entity.add_requested_context(model)
        association = entity.associate(
            "127.0.0.1",
            self.house.listeners["DIMSE"],
            ae_title="XDSI",
            tls_args=(self.context(), "127.0.0.1"),
        )
        assert association.is_established
        try:
            echoed, stored = association.send_c_echo(), association.send_c_store(data_set)
            study = identifier("STUDY", StudyInstanceUID="2.25.999")
            [*_, (found, _)] = association.send_c_find(study, STUDY_FIND)
            committed, _ = association.send_n_action(study, 1, COMMITMENT, f"{COMMITMENT}.1")
            [*_, (moved, _)] = association.send_c_move(study, "NOBODY", STUDY_MOVE)
            [*_, (fetched, _)] = association.send_c_get(study, STUDY_GET)
        finally:
            association.release()
        return {
            "C-ECHO": "XDSI_RIGHTS__STORE" if echoed.Status == 0x0124 else "",
            **{
                door: answer.ErrorComment if answer.Status == 0x0124 else ""
                for door, answer in (
                    ("C-STORE", stored),
                    ("C-FIND", found),
                    ("N-ACTION", committed),
                    ("C-MOVE", moved),
                    ("C-GET", fetched),
                )
            },
        }
