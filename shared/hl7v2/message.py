"""Messages of HL7 v2, read as far as every receiver does, and acknowledged (HL7 v2.3.1 to 2.5).

Small on purpose: a message is its segments. Tolerated when reading: CR LF or LF between segments, a byte
order mark or line ends before MSH, an absent third component of MSH-9, and a message that names no character
set: it is UTF-8, or else what a setting says.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

SEPARATORS = "|^~\\&"
MAX_SEGMENTS = 1_000
MAX_FIELDS = 200

DEFAULT_CHARSET = "8859/1"
CHARSETS = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso8859-{part}" for part in (*range(1, 10), 15)},
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr",
    "BIG-5": "big5",
    "WINDOWS-1252": "cp1252",
}
"""What MSH-18 may name (HL7 table 0211), and a set that is none of HL7's and yet sent."""

# Other spellings of the names above, without what stands between letters and digits.
_ALIASES = {
    "UTF8": "UNICODEUTF8",
    "USASCII": "ASCII",
    "LATIN1": "88591",
    "CP1252": "WINDOWS1252",
    **{f"ISO8859{part}": f"8859{part}" for part in (*range(1, 10), 15)},
    **{
        f"ISOIR{number}": f"8859{part}" for number, part in ((100, 1), (101, 2), (144, 5), (126, 7), (148, 9))
    },
}
_SPELLING = re.compile(r"[^A-Z0-9]")
_BEFORE_MSH = re.compile(rb"\A(?:" + re.escape(codecs.BOM_UTF8) + rb")?[\r\n]*")
_LONGEST_HEADER = 4_096


class AnswerCode(StrEnum):
    """MSA-1."""

    ACCEPT = "AA"
    ERROR = "AE"
    REJECT = "AR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """MSH as far as it is echoed and audited; what cannot be read is empty."""

    application: str = ""
    facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    event: str = ""
    control_id: str = ""
    processing_id: str = "P"
    version: str = "2.3.1"


class MessageRefused(Exception):
    """The message cannot be taken: the acknowledgement's code, the error of HL7 table 0357, its place and
    text.
    """

    def __init__(
        self, code: AnswerCode, number: int, place: str, text: str, header: Header | None = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.number = number
        self.place = place
        self.text = text
        self.header = header or Header()


Segment = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hl7Message:
    """A message as its segments, MSH first, each as its fields; `guessed` tells that its character set is."""

    header: Header
    segments: Sequence[Segment]
    guessed: bool = False

    @property
    def kind(self) -> str:
        """What message it is, MSH-9.1."""
        return header_field(self.segments[0], 9).partition("^")[0]

    def named(self, name: str) -> list[Segment]:
        """The segments of a name, in their order."""
        return [segment for segment in self.segments if segment[0] == name]


# --- reading ------------------------------------------------------------------------------------------


def decode(octets: bytes, *, kinds: Sequence[str], default_charset: str = DEFAULT_CHARSET) -> Hl7Message:
    """Read a message that is of one of `kinds` (MSH-9.1) and of HL7 2.x.

    Parameters
    ----------
    default_charset
        The character set, as MSH-18 spells it, of a message that names none and is not UTF-8.

    Raises
    ------
    MessageRefused
        With as much of the header as could be read.
    """
    message = _BEFORE_MSH.sub(b"", octets, count=1)
    header = readable_header(message)
    try:
        text, guessed = _text(message, default_charset)
        segments = _segments(text)
        header = _header(segments[0])
        _check(segments[0], kinds)
        return Hl7Message(header=header, segments=segments, guessed=guessed)
    except MessageRefused as error:
        error.header = header
        raise


def _check(segment: Segment, kinds: Sequence[str]) -> None:
    if not header_field(segment, 10):
        raise MessageRefused(AnswerCode.REJECT, 101, "MSH-10", "the message has no control id")
    if header_field(segment, 9).partition("^")[0] not in kinds:
        raise MessageRefused(
            AnswerCode.REJECT, 200, "MSH-9", f"only {', '.join(kinds)} messages are taken here"
        )
    if not header_field(segment, 12).startswith("2."):
        raise MessageRefused(AnswerCode.REJECT, 203, "MSH-12", "the version must be 2.3.1 or another of 2.x")


def readable_header(octets: bytes) -> Header:
    """As much of MSH as the beginning of a message shows, whatever is wrong with the rest of it."""
    message = _BEFORE_MSH.sub(b"", octets[:_LONGEST_HEADER], count=1)
    if not message.startswith(b"MSH") or len(message) < len("MSH|"):
        return Header()
    line = re.split(rb"[\r\n]", message, maxsplit=1)[0].decode("latin-1")
    return _header(line.split(line[3]))


def _segments(text: str) -> list[Segment]:
    if not text.startswith(f"MSH{SEPARATORS}"):
        raise MessageRefused(
            AnswerCode.REJECT,
            100,
            "MSH",
            f"the message must begin with MSH{SEPARATORS}, the separators of HL7",
        )
    lines = text.replace("\r\n", "\r").replace("\n", "\r").split("\r")
    if len(lines) > MAX_SEGMENTS:
        raise MessageRefused(AnswerCode.REJECT, 100, "MSH", f"more than {MAX_SEGMENTS} segments")
    for line in lines:
        if line.count("|") > MAX_FIELDS:
            raise MessageRefused(
                AnswerCode.REJECT,
                100,
                line[:3],
                f"more than {MAX_FIELDS} fields in the segment {line[:3]}",
            )
    return [line.split("|") for line in lines if line]


def _text(octets: bytes, default_charset: str) -> tuple[str, bool]:
    """The message as text, and whether its character set had to be guessed."""
    character_set = re.split(rb"[\r\n]", octets, maxsplit=1)[0].split(b"|")[17:18]
    charset = (character_set[0] if character_set else b"").decode("ascii", "replace").split("~")[0].strip()
    if charset:
        return _decoded(octets, charset), False
    try:
        return octets.decode("utf-8"), False
    except UnicodeDecodeError:
        return _decoded(octets, default_charset), True


def _decoded(octets: bytes, charset: str) -> str:
    encoding = encoding_of(charset)
    if encoding is None:
        raise MessageRefused(
            AnswerCode.REJECT,
            102,
            "MSH-18",
            f"the character set is not read here; use one of {', '.join(CHARSETS)}",
        )
    try:
        return octets.decode(encoding)
    except UnicodeDecodeError:
        raise MessageRefused(
            AnswerCode.REJECT,
            102,
            "MSH-18",
            f"the bytes are not {encoding}; name their character set in MSH-18",
        ) from None


def encoding_of(charset: str) -> str | None:
    """Python's codec for a character set of HL7 table 0211, commonly spelled; None for one not read here."""
    spelled = _SPELLING.sub("", charset.upper())
    spelled = _ALIASES.get(spelled, spelled)
    return next((codec for name, codec in CHARSETS.items() if _SPELLING.sub("", name) == spelled), None)


def _header(segment: Segment) -> Header:
    return Header(
        application=header_field(segment, 3),
        facility=header_field(segment, 4),
        receiving_application=header_field(segment, 5),
        receiving_facility=header_field(segment, 6),
        event=_event_code(segment),
        control_id=header_field(segment, 10),
        processing_id=header_field(segment, 11) or "P",
        version=header_field(segment, 12) or "2.3.1",
    )


def field_of(segment: Segment, number: int) -> str:
    """A field of a segment that is not MSH; empty where it is absent."""
    return segment[number] if number < len(segment) else ""


def header_field(segment: Segment, number: int) -> str:
    """A field of MSH, without what cannot be printed."""
    # MSH-1 is the separator itself, so that its fields stand one place earlier.
    field = field_of(segment, number - 1)[:_LONGEST_HEADER]
    return "".join(character for character in field if character.isprintable())[:200]


def _event_code(segment: Segment) -> str:
    return header_field(segment, 9).partition("^")[2].partition("^")[0]


# --- answering ----------------------------------------------------------------------------------------


def acknowledgement(
    header: Header, *, now: datetime | None = None, error: MessageRefused | None = None
) -> bytes:
    """The ACK for a message with `header`: AA, or what `error` says."""
    code = error.code if error else AnswerCode.ACCEPT
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    kind = f"ACK^{header.event}" if header.event else "ACK"
    segments = [
        f"MSH|{SEPARATORS[1:]}|{header.receiving_application}|{header.receiving_facility}"
        f"|{header.application}|{header.facility}|{moment:%Y%m%d%H%M%S}||{kind}|{uuid4().hex[:20]}"
        f"|{header.processing_id}|{header.version}||||||UNICODE UTF-8",
        f"MSA|{code}|{header.control_id}" + (f"|{_escaped(error.text)}" if error else ""),
    ]
    if error:
        segments.append(f"ERR|{error.place}^^^{error.number}&{_escaped(error.text)}&HL70357")
    return "".join(f"{segment}\r" for segment in segments).encode()


_ESCAPES = str.maketrans({"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\r": " "})


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
