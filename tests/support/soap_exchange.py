"""Two small transactions, SIMPLE and MTOM, a service of them, and a sender that writes bytes by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lxml import etree

from shared.audit.events import AuditEvent, Outcome, ihe
from shared.audit.recorder import AuditUnavailable
from shared.audit.refusals import Refusals
from shared.errors import Actor, Rejected, XdsError
from shared.faults import SOAP12, WSA, SecurityFault
from shared.perform import UnitOfWork
from shared.security.caller import Caller, Node
from shared.security.speaker import Speaker
from shared.settings import ServiceSettings
from shared.soap.mtom import Attachment, Attachments, Content, MtomBody, Received, include, resolve
from shared.soap.pipeline import SoapLimits, SoapService
from shared.soap.served import Served
from shared.soap.transaction import SoapTransaction
from shared.xml import Element, escape, text

XDS = "urn:ihe:iti:xds-b:2007"
ANONYMOUS = f"{WSA}/anonymous"
MESSAGE_ID = "urn:uuid:0c0ffee0-0000-4000-8000-000000000001"
SOAP = "application/soap+xml; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Echo:
    text: str
    errors: tuple[XdsError, ...] = ()


@dataclass(frozen=True, slots=True)
class Documents:
    documents: tuple[Content | None, ...] = ()
    errors: tuple[XdsError, ...] = ()


def _encode_echo(name: str) -> Callable[[Echo], MtomBody]:
    def encode(echo: Echo) -> MtomBody:
        errors = "".join(
            f'<e:Error code="{error.code_for(Actor.REGISTRY)}">{escape(error.context)}</e:Error>'
            for error in echo.errors
        )
        return MtomBody(f'<e:{name} xmlns:e="urn:echo">{escape(echo.text)}{errors}</e:{name}>'.encode())

    return encode


def _decode_echo(body: Element, _: Attachments) -> Echo:
    return Echo(text(body))


def _encode_documents(name: str) -> Callable[[Documents], MtomBody]:
    def encode(value: Documents) -> MtomBody:
        listed = "".join(
            f"<x:Document>{include(f'd{number}@test')}</x:Document>"
            for number, _ in enumerate(value.documents)
        )
        listed += "".join(f"<x:Error>{error.code_for(Actor.REPOSITORY)}</x:Error>" for error in value.errors)
        return MtomBody(
            f'<x:{name} xmlns:x="{XDS}">{listed}</x:{name}>'.encode(),
            tuple(
                Attachment(f"d{number}@test", content)
                for number, content in enumerate(value.documents)
                if content is not None
            ),
        )

    return encode


def _decode_documents(body: Element, attachments: Attachments) -> Documents:
    return Documents(
        tuple(resolve(document, attachments) for document in body.iterfind(f"{{{XDS}}}Document"))
    )


ECHO: SoapTransaction[Echo, Echo] = SoapTransaction(
    number="TEST-1",
    name="Echo",
    action="urn:echo:Echo",
    response_action="urn:echo:EchoResponse",
    body_root="{urn:echo}Echo",
    encode_request=_encode_echo("Echo"),
    decode_request=_decode_echo,
    encode_response=_encode_echo("EchoResponse"),
    decode_response=_decode_echo,
    failure=lambda errors: Echo("", tuple(errors)),
)

KEEP: SoapTransaction[Documents, Documents] = SoapTransaction(
    number="TEST-2",
    name="Keep",
    action="urn:keep:Keep",
    response_action="urn:keep:KeepResponse",
    body_root=f"{{{XDS}}}Keep",
    encode_request=_encode_documents("Keep"),
    decode_request=_decode_documents,
    encode_response=_encode_documents("KeepResponse"),
    decode_response=_decode_documents,
    failure=lambda errors: Documents((), tuple(errors)),
    mtom=True,
)


@dataclass
class Recorder:
    """Keeps events in a list; `available` off makes it refuse."""

    events: list[AuditEvent] = field(default_factory=list)
    available: bool = True

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.record)

    async def record(self, events: Sequence[AuditEvent]) -> None:
        if not self.available:
            raise AuditUnavailable("full")
        self.events += events


@dataclass
class Doorkeeper:
    """Lets everybody in, or refuses with `fault`; remembers what it was shown."""

    fault: SecurityFault | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)

    async def caller(self, node: Node, *, endpoint: str, message_id: str = "", **shown: Any) -> Caller:
        self.seen.append({"node": node, **shown})
        if self.fault is not None:
            raise self.fault
        return Caller(node=node, endpoint=endpoint, message_id=message_id)


Unit = UnitOfWork[None]


def describe(request: Any, response: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    return (
        AuditEvent(
            event_id=ihe("TEST", "Test"),
            action="E",
            outcome=outcome,
            outcome_description=type(response).__name__,
        ),
    )


async def echo(unit: Unit, request: Echo) -> Echo:
    return Echo(request.text)


@dataclass
class Keeper:
    """Reads what it is given, as long as its file exists, and gives it back from where it was moved."""

    folder: Path
    kept: list[bytes | None] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)

    async def __call__(self, unit: Unit, request: Documents) -> Documents:
        self.kept = [None if one is None else one.path.read_bytes() for one in request.documents]  # type: ignore[union-attr]
        self.received = [one for one in request.documents if isinstance(one, Received)]
        return Documents(tuple(one for one in request.documents if one is not None))


def refusing(*errors: XdsError) -> Callable[..., Any]:
    async def handle(unit: Unit, request: Any) -> Any:
        raise Rejected(*errors) if len(errors) > 1 else errors[0]

    return handle


def a_unit(caller: Caller) -> Unit:
    return Unit(None, caller)


@dataclass
class House:
    """A service and the things around it that a test looks at."""

    service: SoapService
    recorder: Recorder
    doorkeeper: Doorkeeper
    keeper: Keeper
    folder: Path

    def left_behind(self) -> list[Path]:
        return list(self.folder.iterdir())


def a_house(
    folder: Path,
    *,
    handle_echo: Callable[..., Any] = echo,
    handle_keep: Callable[..., Any] | None = None,
    doorkeeper: Doorkeeper | None = None,
    unit: Any = a_unit,
    speaker: Speaker = Speaker.USER,
    limits: SoapLimits | None = None,
    settings: ServiceSettings | None = None,
) -> House:
    recorder, doorkeeper, keeper = Recorder(), doorkeeper or Doorkeeper(), Keeper(folder)
    spool = folder / "spool"
    service = SoapService(
        (
            Served(ECHO, handle_echo, describe, speaker),
            Served(KEEP, handle_keep or keeper, describe, speaker),
        ),
        unit=unit,
        authenticator=doorkeeper,
        recorder=recorder,
        settings=settings or ServiceSettings(),
        actor=Actor.REGISTRY,
        spool_folder=spool,
        limits=limits,
    )
    return House(service, recorder, doorkeeper, keeper, spool)


# --- messages by hand --------------------------------------------------------------------------------


def an_envelope(
    body: str,
    *,
    action: str = ECHO.action,
    message_id: str = MESSAGE_ID,
    headers: str = "",
    soap: str = SOAP12,
) -> bytes:
    named = f"<a:MessageID>{message_id}</a:MessageID>" if message_id else ""
    acting = f'<a:Action s:mustUnderstand="1">{action}</a:Action>' if action else ""
    return (
        f'<s:Envelope xmlns:s="{soap}" xmlns:a="{WSA}"><s:Header>{acting}{named}{headers}</s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def an_echo(words: str = "hello", **changes: Any) -> bytes:
    return an_envelope(f'<e:Echo xmlns:e="urn:echo">{words}</e:Echo>', **changes)


def a_keep(*documents: str, **changes: Any) -> bytes:
    """`documents` are what stands inside each Document element."""
    listed = "".join(f"<x:Document>{inside}</x:Document>" for inside in documents)
    return an_envelope(f'<x:Keep xmlns:x="{XDS}">{listed}</x:Keep>', **{"action": KEEP.action, **changes})


def a_part(content: bytes, *headers: str) -> bytes:
    return "".join(f"{header}\r\n" for header in headers).encode() + b"\r\n" + content


def a_root(envelope: bytes, content_id: str = "<root@test>") -> bytes:
    return a_part(
        envelope,
        'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"',
        "Content-Transfer-Encoding: binary",
        f"Content-ID: {content_id}",
    )


def a_package(*parts: bytes, boundary: str = "b1") -> bytes:
    opened = b"".join(b"\r\n--" + boundary.encode() + b"\r\n" + part for part in parts)
    return opened[2:] + b"\r\n--" + boundary.encode() + b"--\r\n"


MTOM = (
    'multipart/related; boundary="b1"; type="application/xop+xml"; start="<root@test>"; '
    'start-info="application/soap+xml"'
)

# --- sending by hand ---------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def xml(self) -> Element:
        content = self.body
        if self.headers["content-type"].startswith("multipart/related"):
            content = content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0].split(b"\r\n--", 1)[0]
        return etree.fromstring(content)

    def header(self, name: str) -> str:
        return self.xml.findtext(f".//{{{WSA}}}{name}") or ""

    @property
    def fault(self) -> tuple[str, ...]:
        """Code and subcodes of the fault, local names."""
        values = self.xml.iterfind(f".//{{{SOAP12}}}Fault//{{{SOAP12}}}Value")
        return tuple((value.text or "").partition(":")[2] for value in values)

    @property
    def reason(self) -> str:
        return self.xml.findtext(f".//{{{SOAP12}}}Text") or ""


async def post(
    service: SoapService,
    body: bytes | Sequence[bytes],
    content_type: str = SOAP,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    method: str = "POST",
    query: bytes = b"",
    server: tuple[str, int] = ("127.0.0.1", 8010),
    gone_after: int | None = None,
    send: Callable[[Any], Any] | None = None,
    address: str = "127.0.0.1",
) -> Answer:
    """One request, in the chunks given; `gone_after` so many of them the client is gone."""
    chunks = [body] if isinstance(body, bytes) else list(body)
    position = 0

    async def receive() -> dict[str, Any]:
        nonlocal position
        if position == gone_after:
            return {"type": "http.disconnect"}
        chunk = chunks[position] if position < len(chunks) else b""
        position += 1
        return {
            "type": "http.request",
            "body": chunk,
            "more_body": position < len(chunks) or gone_after is not None,
        }

    answer = Answer()

    async def keep(message: Any) -> None:
        if send is not None:
            await send(message)
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message["body"]

    announced = (
        [] if gone_after is not None or len(chunks) > 1 else [(b"content-length", b"%d" % len(chunks[0]))]
    )
    scope = {
        "type": "http",
        "method": method,
        "path": "/xds/test",
        "query_string": query,
        "scheme": "http",
        "client": (address, 4711),
        "server": server,
        "headers": [
            (b"host", b"localhost:8010"),
            (b"content-type", content_type.encode()),
            *announced,
            *headers,
        ],
        "extensions": {},
    }
    await service.asgi(scope, receive, keep)
    return answer
