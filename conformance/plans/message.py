"""Answers of SOAP endpoints, by a reading of our own: nothing of the codec of the services is used here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from email.policy import HTTP
from functools import cached_property
from urllib.parse import unquote

from conformance.envelopes import NAMES, SOAP, STATUS, Element, parameter
from conformance.plans.probe import Unmet, expect, expect_equal
from shared.xml import XmlError, parse


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, and the SOAP message in it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    message_id: str = ""

    @property
    def content_type(self) -> str:
        """Of the answer, as it stands there."""
        return self.headers.get("content-type", "")

    @property
    def media_type(self) -> str:
        """Without parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    @cached_property
    def _parts(self) -> list[tuple[Mapping[str, str], bytes]]:
        if self.media_type != "multipart/related":
            return [({}, self.content)]
        head = f"Content-Type: {self.content_type}\r\n\r\n".encode()
        parsed = message_from_bytes(head + self.content, policy=HTTP)
        expect(parsed.is_multipart(), "the answer is no multipart package")
        return [
            (
                {name.lower(): str(value) for name, value in part.items()},
                self._octets(str(part.get("Content-ID", "")), part),
            )
            for part in parsed.iter_parts()
        ]

    def _octets(self, content_id: str, part: object) -> bytes:
        # The parser of mail changes line ends: the octets are cut out of what came.
        boundary = parameter(self.content_type, "boundary").encode()
        for piece in (b"\r\n" + self.content).split(b"\r\n--" + boundary)[1:]:
            head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            if content_id.encode() in head:
                return content
        return b""

    @cached_property
    def parts(self) -> Mapping[str, bytes]:
        """The attachments by Content-ID, without angle brackets."""
        return {
            str(headers.get("content-id", "")).strip("<> "): content for headers, content in self._parts[1:]
        }

    @cached_property
    def envelope(self) -> Element:
        """The SOAP envelope; raises `Unmet` when there is none."""
        root = self._parts[0][1]
        try:
            element = parse(root)
        except XmlError as error:
            raise Unmet(f"HTTP {self.status} with no XML in it: {error}") from None
        expect_equal(element.tag, f"{{{SOAP}}}Envelope", "the root of the answer")
        return element

    @cached_property
    def body(self) -> Element:
        """The element in the Body."""
        elements = self.all("s:Body/*", self.envelope)
        expect(len(elements) == 1, f"the Body holds {len(elements)} elements")
        return elements[0]

    def all(self, path: str, element: Element | None = None) -> list[Element]:
        """The elements at `path`, from the Body's element when no other is given."""
        elements = (self.body if element is None else element).xpath(path, namespaces=NAMES)
        return list(elements)

    def text(self, path: str) -> str:
        """The text at `path` below the envelope, trimmed; empty when it is not there."""
        return "".join(self.envelope.xpath(f"string({path})", namespaces=NAMES)).strip()

    @property
    def action(self) -> str:
        """The wsa:Action."""
        return self.text("s:Header/a:Action")

    @property
    def relates_to(self) -> str:
        """The wsa:RelatesTo."""
        return self.text("s:Header/a:RelatesTo")

    @property
    def fault(self) -> str:
        """The local name of the fault's code; empty when it is no fault."""
        code = self.text("s:Body/s:Fault/s:Code/s:Value")
        return code.rpartition(":")[2]

    @property
    def subcodes(self) -> list[str]:
        """The local names of the fault's subcodes."""
        elements = self.envelope.xpath("s:Body/s:Fault//s:Subcode/s:Value/text()", namespaces=NAMES)
        return [str(value).strip().rpartition(":")[2] for value in elements]

    @property
    def response(self) -> Element:
        """The element with the status: the Body's, or the RegistryResponse in it."""
        if self.fault:
            raise Unmet(
                f"a fault ({self.fault} {' '.join(self.subcodes)}) came instead of an orderly response: "
                f"{self.text('s:Body/s:Fault/s:Reason/s:Text')}"
            )
        if self.body.get("status") is not None:
            return self.body
        inner = self.all("rs:RegistryResponse")
        expect(inner, "the answer has no status")
        return inner[0]

    @property
    def outcome(self) -> str:
        """Success, Failure or PartialSuccess; what is none of them as it stands there."""
        status = str(self.response.get("status", ""))
        return STATUS.get(status, status)

    @property
    def errors(self) -> list[Element]:
        """The RegistryErrors."""
        return self.all("rs:RegistryErrorList/rs:RegistryError", self.response)

    @property
    def codes(self) -> list[str]:
        """The errorCodes in their order."""
        return [str(error.get("errorCode", "")) for error in self.errors]

    # --- what is expected of it --------------------------------------------------------------------

    def expect_success(self) -> Reply:
        """An orderly response with the status Success, and itself."""
        reasons = "; ".join(f"{one.get('errorCode')}: {one.get('codeContext')}" for one in self.errors)
        expect(self.outcome == "Success", f"the status is {self.outcome}, not Success ({reasons})")
        return self

    def expect_failure(self, *codes: str) -> Reply:
        """An orderly response with the status Failure and one of `codes`, any when none is named."""
        expect_equal(self.outcome, "Failure", "the status")
        expect(self.errors, "a Failure names no error")
        if codes and not set(codes) & set(self.codes):
            raise Unmet(f"the errorCode is {', '.join(self.codes)}; {' or '.join(codes)} would be right")
        return self

    def expect_partial(self, *codes: str) -> Reply:
        """An orderly response with the status PartialSuccess and one of `codes`."""
        expect_equal(self.outcome, "PartialSuccess", "the status")
        expect(set(codes) & set(self.codes), f"the errorCode is {self.codes}, not one of {codes}")
        return self

    def expect_fault(self, code: str, *subcodes: str) -> Reply:
        """A fault of SOAP 1.2 with `code`, and one of `subcodes` where some are named."""
        expect(self.fault, f"no fault came, but HTTP {self.status} with {self.body.tag}")
        expect_equal(self.fault, code, "the code of the fault")
        if subcodes:
            expect(set(subcodes) & set(self.subcodes), f"the subcode is {self.subcodes}, not {subcodes}")
        return self

    def content_of(self, document: Element) -> bytes:
        """The octets of a Document element: an attachment, or base64 in it."""
        includes = self.all("xop:Include", document)
        if not includes:
            import base64

            return base64.b64decode("".join(document.itertext()))
        name = unquote(str(includes[0].get("href", "")).removeprefix("cid:"))
        expect(name in self.parts, f"the part {name!r} that xop:Include names did not come")
        return self.parts[name]
