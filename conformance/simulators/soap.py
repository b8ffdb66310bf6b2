"""What simulated SOAP endpoints have in common: a message is read, and answered in its encoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar
from xml.sax.saxutils import quoteattr

from conformance.envelopes import NAMES, SIMPLE, Element, Envelope, package
from conformance.readers.http import MediaType, parts
from conformance.readers.source import Source
from conformance.schemes import ERROR, FAILURE, PARTIAL_SUCCESS, SUCCESS
from conformance.simulators.server import HttpAnswer, HttpRequest
from conformance.simulators.world import World
from shared.xml import XmlError, parse

NEXT = "http://www.w3.org/2005/08/addressing/anonymous"


@dataclass(frozen=True, slots=True)
class SoapMessage:
    """What came: the envelope, and whether it was MTOM, with its parts by Content-ID."""

    envelope: Element
    mtom: bool
    attachments: Mapping[str, bytes]

    @classmethod
    def of(cls, request: HttpRequest) -> SoapMessage:
        """Read a request.

        Raises
        ------
        XmlError, ValueError
            It holds no SOAP envelope.
        """
        media_type = MediaType.of(request.headers.get("content-type", ""))
        if media_type.value != "multipart/related":
            return cls(parse(request.body), mtom=False, attachments={})
        pieces = [
            (one.content_id.strip("<>"), one.body.read(0, len(one.body)))
            for one in parts(Source.of(request.body), media_type.parameters.get("boundary", ""))
        ]
        if not pieces:
            raise ValueError("a package without parts")
        return cls(parse(pieces[0][1]), mtom=True, attachments=dict(pieces[1:]))

    def header(self, name: str) -> str:
        """The text of a header of WS-Addressing."""
        return str(self.envelope.xpath(f"string(s:Header/a:{name})", namespaces=NAMES)).strip()

    @property
    def body(self) -> Element:
        """The element in the Body."""
        return self.envelope.xpath("s:Body/*", namespaces=NAMES)[0]

    def texts(self, path: str) -> list[str]:
        """The texts at `path` below the Body."""
        return [str(one).strip() for one in self.body.xpath(path, namespaces=NAMES)]


@dataclass(frozen=True, slots=True)
class SoapAnswer:
    """The element of the Body, the parts that go with it, and another wsa:Action than that of the request
    with `Response`."""

    body: str
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    action: str = ""


class SoapActor(ABC):
    """An actor at one address."""

    path: ClassVar[str]

    def __init__(self, world: World) -> None:
        self.world = world

    def handle(self, request: HttpRequest) -> HttpAnswer:
        """Answer a request."""
        try:
            message = SoapMessage.of(request)
            envelope, attachments = self.envelope(message, self.respond(message))
        except (XmlError, ValueError, LookupError):
            return HttpAnswer(_fault("Sender", "the message cannot be read"), status=400)
        if not message.mtom:
            return HttpAnswer(envelope.xml(), SIMPLE)
        content_type, content = package(envelope.xml(), attachments, action=envelope.action)
        return HttpAnswer(content, content_type)

    @abstractmethod
    def respond(self, message: SoapMessage) -> SoapAnswer:
        """What the Body of the answer is."""

    def envelope(self, message: SoapMessage, answer: SoapAnswer) -> tuple[Envelope, Mapping[str, bytes]]:
        """The message around it."""
        envelope = Envelope(
            action=answer.action or f"{message.header('Action')}Response",
            body=answer.body,
            to=NEXT,
            reply_to=None,
            relates_to=message.header("MessageID"),
        )
        return envelope, answer.attachments


def _fault(code: str, reason: str) -> bytes:
    body = (
        f"<s:Fault><s:Code><s:Value>s:{code}</s:Value></s:Code><s:Reason>"
        f'<s:Text xml:lang="en">{reason}</s:Text></s:Reason></s:Fault>'
    )
    return Envelope(action="http://www.w3.org/2005/08/addressing/fault", body=body, reply_to=None).xml()


@dataclass(frozen=True, slots=True)
class RegistryFault:
    """A RegistryError, before it is written."""

    code: str
    context: str
    location: str = ""

    def xml(self) -> str:
        """The element."""
        location = f" location={quoteattr(self.location)}" if self.location else ""
        return (
            f'<rs:RegistryError errorCode="{self.code}" codeContext={quoteattr(self.context)} '
            f'severity="{ERROR}"{location}/>'
        )


def errors_xml(faults: list[RegistryFault]) -> str:
    """The RegistryErrorList; nothing without errors."""
    listed = "".join(one.xml() for one in faults)
    return f"<rs:RegistryErrorList>{listed}</rs:RegistryErrorList>" if faults else ""


def status_of(faults: list[RegistryFault], *, delivered: bool) -> str:
    """The status of an answer with these errors, that has or has not something beside them."""
    if not faults:
        return SUCCESS
    return PARTIAL_SUCCESS if delivered else FAILURE
