"""A CDA document within a MIME package, as OBX-5 carries it (HL7 v2.5.1 9.2; CDA R2 3, RFC 2557, RFC 2046).

Tolerated: LF for CRLF, a missing MIME-Version, text around the parts, a last delimiter that is missing. Not
taken: parts beside the document, which would be lost, and packages within packages.
"""

from __future__ import annotations

import re
from base64 import b64decode
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from quopri import decodestring
from typing import Final

from imaging_source.domain.imaging_reports import UnreadableReport

_BEGINS: Final = re.compile(rb"\s*(?:MIME-Version|Content-[A-Za-z-]+)[ \t]*:", re.IGNORECASE)
_BLANK_LINE: Final = re.compile(rb"\r?\n[ \t]*\r?\n")
_MOST_HEADER_OCTETS: Final = 8192
# RFC 2046 section 5.1.1.
_LONGEST_BOUNDARY: Final = 70
_XML: Final = re.compile(r"(?:text|application)/(?:[\w.-]+\+)?xml")


def unpacked(octets: bytes) -> bytes:
    """The document within a package; what is no package is returned as it is.

    Raises
    ------
    UnreadableReport
        The package holds more than one document, or none that can be read.
    """
    if not _BEGINS.match(octets[:_MOST_HEADER_OCTETS]):
        return octets
    header, body = _divided(octets.lstrip())
    if header.get_content_maintype() == "multipart":
        header, body = _divided(_sole_part(header, body))
    if header.get_content_maintype() == "multipart":
        raise UnreadableReport("the MIME package holds another one; send the CDA document as its only part")
    if not _XML.fullmatch(header.get_content_type()):
        raise UnreadableReport("the part of the MIME package is no XML (Content-Type: text/xml)")
    return _decoded(header, body)


def _divided(octets: bytes) -> tuple[Message, bytes]:
    octets = octets.removeprefix(b"\r\n").removeprefix(b"\n")
    end = _BLANK_LINE.search(octets, 0, _MOST_HEADER_OCTETS)
    if end is None:
        raise UnreadableReport("the header of the MIME package, or of its part, does not end")
    return BytesHeaderParser(policy=compat32).parsebytes(octets[: end.start()]), octets[end.end() :]


def _sole_part(header: Message, body: bytes) -> bytes:
    boundary = header.get_boundary("")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY or not boundary.isascii():
        raise UnreadableReport("the MIME package names no boundary of its parts")
    delimiter = re.escape(b"--" + boundary.encode())
    # With the last delimiter and what is behind it at most four pieces are of use.
    pieces = re.split(rb"(?:\A|\r?\n)" + delimiter + rb"(--)?[ \t]*(?=\r?\n|\Z)", body, maxsplit=3)
    if len(pieces) == 1:
        raise UnreadableReport("the MIME package holds no part")
    _, _, part, *rest = pieces
    if rest and rest[0] is None:
        raise UnreadableReport(
            "the MIME package holds parts beside the CDA document, which would be lost; send the document "
            "alone, with its pictures within"
        )
    return bytes(part)


def _decoded(header: Message, body: bytes) -> bytes:
    encoding = str(header.get("Content-Transfer-Encoding", "8bit")).strip().lower()
    if encoding == "base64":
        try:
            return b64decode(b"".join(body.split()), validate=True)
        except ValueError:
            raise UnreadableReport("the part of the MIME package is not base64") from None
    if encoding == "quoted-printable":
        return decodestring(body)
    if encoding in ("7bit", "8bit", "binary"):
        return body
    raise UnreadableReport(
        "the part of the MIME package is encoded otherwise than 7bit, 8bit, binary, base64 or "
        "quoted-printable"
    )
