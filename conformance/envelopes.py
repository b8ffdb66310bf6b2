"""SOAP messages and XOP packages by templates: nothing of the codec of the services is used here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import escape

#: An element of lxml, whose stubs tell too little of what XPath gives.
Element = Any

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
NAMES = {
    "s": SOAP,
    "a": WSA,
    "rs": "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "lcm": "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "query": "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "xds": "urn:ihe:iti:xds-b:2007",
    "rmd": "urn:ihe:iti:rmd:2017",
    "xdsi": "urn:ihe:rad:xdsi-b:2009",
    "xop": "http://www.w3.org/2004/08/xop/include",
    "hl7": "urn:hl7-org:v3",
}
DECLARED = " ".join(f'xmlns:{prefix}="{NAMES[prefix]}"' for prefix in NAMES if prefix not in ("s", "a"))
STATUS = {
    "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success": "Success",
    "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure": "Failure",
    "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess": "PartialSuccess",
}
ERROR = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
SIMPLE = "application/soap+xml; charset=UTF-8"


def new_message_id() -> str:
    """A MessageID that nobody has used."""
    return f"urn:uuid:{uuid4()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A SOAP 1.2 message before it is written; what a probe wants otherwise it says.

    `headers` are further header blocks as XML, `security` what stands in the Security header; an answer has
    `relates_to`.
    """

    action: str
    body: str
    to: str = "http://localhost/"
    message_id: str = field(default_factory=new_message_id)
    reply_to: str | None = "http://www.w3.org/2005/08/addressing/anonymous"
    headers: str = ""
    security: str = ""
    namespace: str = SOAP
    must_understand: str = "1"
    relates_to: str = ""

    def xml(self) -> bytes:
        """The message."""
        action = f'<a:Action s:mustUnderstand="{self.must_understand}">{escape(self.action)}</a:Action>'
        blocks = [
            action if self.action else "",
            f"<a:MessageID>{escape(self.message_id)}</a:MessageID>" if self.message_id else "",
            f"<a:ReplyTo><a:Address>{self.reply_to}</a:Address></a:ReplyTo>" if self.reply_to else "",
            f"<a:RelatesTo>{escape(self.relates_to)}</a:RelatesTo>" if self.relates_to else "",
            f"<a:To>{escape(self.to)}</a:To>",
            self.headers,
            f'<w:Security xmlns:w="{WSSE}">{self.security}</w:Security>' if self.security else "",
        ]
        return (
            f'<s:Envelope xmlns:s="{self.namespace}" xmlns:a="{WSA}" {DECLARED}>'
            f"<s:Header>{''.join(blocks)}</s:Header><s:Body>{self.body}</s:Body></s:Envelope>"
        ).encode()


def package(xml: bytes, parts: Mapping[str, bytes], *, action: str = "") -> tuple[str, bytes]:
    """The Content-Type and the body of an XOP package; `parts` by Content-ID."""
    boundary = f"part.{uuid4().hex}"
    head = (
        "Content-Type: application/xop+xml; charset=UTF-8; "
        'type="application/soap+xml"\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <root@probe>\r\n\r\n'
    )
    pieces = [f"--{boundary}\r\n{head}".encode() + xml]
    pieces += [
        f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n"
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{name}>\r\n\r\n".encode()
        + content
        for name, content in parts.items()
    ]
    content_type = (
        f'multipart/related; boundary="{boundary}"; type="application/xop+xml"; start="<root@probe>"; '
        'start-info="application/soap+xml"' + (f'; action="{action}"' if action else "")
    )
    return content_type, b"".join((*pieces, f"\r\n--{boundary}--\r\n".encode()))


def included(content_id: str) -> str:
    """The element that stands for a part."""
    return f'<xop:Include href="cid:{content_id}"/>'


def parameter(content_type: str, name: str) -> str:
    """A parameter of a media type, quotes undone; empty when it is not there."""
    from email.message import Message

    message = Message()
    message["Content-Type"] = content_type
    value = message.get_param(name, "", unquote=True)
    return value if isinstance(value, str) else ""
