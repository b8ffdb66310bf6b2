"""Messages of the patient identity feed, read and acknowledged (HL7 v2.3.1 to 2.5; ITI TF-2 3.8.4).

Small on purpose: a message is what the registry needs of it. Tolerated when reading: CR LF or LF between
segments, a byte order mark or line ends before MSH, an absent third component of MSH-9, ids of other
assigning authorities beside ours, segments that say nothing here, and a message that names no character set:
it is UTF-8, or else what a setting says, as long as no patient id depends on that guess.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from shared.ebrim.identifiers import CX, nfc, unescape

SEPARATORS = "|^~\\&"
MAX_SEGMENTS = 1_000
MAX_FIELDS = 200
MAX_REPETITIONS = 200
MAX_FIELD = 65_536

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


class Event(StrEnum):
    """The trigger events that a registry takes."""

    ADMIT = "A01"
    REGISTER = "A04"
    PRE_ADMIT = "A05"
    UPDATE = "A08"
    MERGE = "A40"


ADDING = frozenset({Event.ADMIT, Event.REGISTER, Event.PRE_ADMIT})


class AcknowledgementCode(StrEnum):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedMessage:
    """One message: the patient of PID-3 and, in a merge, the prior one of MRG-1, as the registry spells."""

    header: Header
    event: Event
    patient_id: str
    prior_patient_id: str = ""


class FeedError(Exception):
    """The message cannot be taken: the acknowledgement's code, the error of HL7 table 0357, its place and
    text.
    """

    def __init__(
        self, code: AcknowledgementCode, number: int, place: str, text: str, header: Header | None = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.number = number
        self.place = place
        self.text = text
        self.header = header or Header()


Segment = Sequence[str]


# --- reading ------------------------------------------------------------------------------------------


def decode(
    octets: bytes, *, domain: str, namespace: str = "", default_charset: str = DEFAULT_CHARSET
) -> FeedMessage:
    """Read a message whose patient ids are of the assigning authority `domain` (an OID).

    Parameters
    ----------
    namespace
        The namespace id that stands for `domain` where a message gives no OID.
    default_charset
        The character set, as MSH-18 spells it, of a message that names none and is not UTF-8.

    Raises
    ------
    FeedError
        With as much of the header as could be read.
    """
    message = _BEFORE_MSH.sub(b"", octets, count=1)
    header = readable_header(message)
    try:
        text, guessed = _text(message, default_charset)
        segments = _segments(text)
        header = _header(segments[0])
        return _message(segments, header, domain, namespace, guessed=guessed)
    except FeedError as error:
        error.header = header
        raise


def readable_header(octets: bytes) -> Header:
    """As much of MSH as the beginning of a message shows, whatever is wrong with the rest of it."""
    message = _BEFORE_MSH.sub(b"", octets[:_LONGEST_HEADER], count=1)
    if not message.startswith(b"MSH") or len(message) < len("MSH|"):
        return Header()
    line = re.split(rb"[\r\n]", message, maxsplit=1)[0].decode("latin-1")
    return _header(line.split(line[3]))


def _message(
    segments: Sequence[Segment], header: Header, domain: str, namespace: str, *, guessed: bool
) -> FeedMessage:
    event = _event(segments[0])
    patients = [segment for segment in segments if segment[0] == "PID"]
    priors = [segment for segment in segments if segment[0] == "MRG"]
    number = 1 if event is Event.MERGE else 0
    if len(patients) != 1 or len(priors) > 1 or len(priors) < number:
        raise FeedError(
            AcknowledgementCode.ERROR,
            100,
            "PID",
            "one PID is needed, and one MRG in a merge: one pair for each message",
        )
    message = FeedMessage(
        header=header,
        event=event,
        patient_id=_patient(_field(patients[0], 3), "PID-3", domain, namespace),
        prior_patient_id=_patient(_field(priors[0], 1), "MRG-1", domain, namespace) if number else "",
    )
    if guessed and not (message.patient_id + message.prior_patient_id).isascii():
        # A name may be guessed, it is not even kept; an id that is guessed may be another patient's.
        raise FeedError(
            AcknowledgementCode.REJECT,
            102,
            "MSH-18",
            "a patient id is not ASCII; name the character set in MSH-18",
        )
    return message


def _segments(text: str) -> list[Segment]:
    if not text.startswith(f"MSH{SEPARATORS}"):
        raise FeedError(
            AcknowledgementCode.REJECT,
            100,
            "MSH",
            f"the message must begin with MSH{SEPARATORS}, the separators of HL7",
        )
    lines = text.replace("\r\n", "\r").replace("\n", "\r").split("\r")
    if len(lines) > MAX_SEGMENTS:
        raise FeedError(AcknowledgementCode.REJECT, 100, "MSH", f"more than {MAX_SEGMENTS} segments")
    for line in lines:
        if line.count("|") > MAX_FIELDS:
            raise FeedError(
                AcknowledgementCode.REJECT,
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
        raise FeedError(
            AcknowledgementCode.REJECT,
            102,
            "MSH-18",
            f"the character set is not read here; use one of {', '.join(CHARSETS)}",
        )
    try:
        return octets.decode(encoding)
    except UnicodeDecodeError:
        raise FeedError(
            AcknowledgementCode.REJECT,
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
        application=_header_field(segment, 3),
        facility=_header_field(segment, 4),
        receiving_application=_header_field(segment, 5),
        receiving_facility=_header_field(segment, 6),
        event=_event_code(segment),
        control_id=_header_field(segment, 10),
        processing_id=_header_field(segment, 11) or "P",
        version=_header_field(segment, 12) or "2.3.1",
    )


def _field(segment: Segment, number: int) -> str:
    return segment[number] if number < len(segment) else ""


def _header_field(segment: Segment, number: int) -> str:
    # MSH-1 is the separator itself, so that its fields stand one place earlier.
    field = _field(segment, number - 1)[:_LONGEST_HEADER]
    return "".join(character for character in field if character.isprintable())[:200]


def _event_code(segment: Segment) -> str:
    kind, _, rest = _header_field(segment, 9).partition("^")
    return rest.partition("^")[0] if kind == "ADT" else ""


def _event(segment: Segment) -> Event:
    kind = _header_field(segment, 9)
    if not _header_field(segment, 10):
        raise FeedError(AcknowledgementCode.REJECT, 101, "MSH-10", "the message has no control id")
    if kind.partition("^")[0] != "ADT":
        raise FeedError(AcknowledgementCode.REJECT, 200, "MSH-9", "only ADT messages are taken here")
    if not _header_field(segment, 12).startswith("2."):
        raise FeedError(
            AcknowledgementCode.REJECT, 203, "MSH-12", "the version must be 2.3.1 or another of 2.x"
        )
    code = _event_code(segment)
    if code not in list(Event):
        raise FeedError(
            AcknowledgementCode.REJECT, 201, "MSH-9", f"the event must be one of {', '.join(Event)}"
        )
    return Event(code)


def _patient(field: str, place: str, domain: str, namespace: str) -> str:
    if len(field) > MAX_FIELD or field.count("~") >= MAX_REPETITIONS:
        raise FeedError(
            AcknowledgementCode.REJECT,
            102,
            place,
            f"{place} has more than {MAX_REPETITIONS} repetitions or {MAX_FIELD} characters",
        )
    patients = {_canonical(repetition, domain, namespace) for repetition in field.split("~")} - {""}
    if len(patients) != 1:
        which = "no id" if not patients else "several ids"
        raise FeedError(
            AcknowledgementCode.ERROR,
            204,
            place,
            f"{place} has {which} of the affinity domain {domain}; give one",
        )
    return patients.pop()


def _canonical(repetition: str, domain: str, namespace: str) -> str:
    components = repetition.split("^")
    authority = (components[3] if len(components) > 3 else "").split("&")
    oid = authority[1] if len(authority) > 1 else ""
    kind = authority[2] if len(authority) > 2 else ""
    ours = oid == domain and kind in ("ISO", "")
    if not oid and namespace and authority[0] == namespace:
        ours = True
    patient_id = nfc(unescape(components[0].strip()))
    # What cannot be shown cannot be recorded or answered either.
    return str(CX(patient_id, domain)) if ours and patient_id and patient_id.isprintable() else ""


# --- answering ----------------------------------------------------------------------------------------


def acknowledgement(header: Header, *, now: datetime | None = None, error: FeedError | None = None) -> bytes:
    """The ACK for a message with `header`: AA, or what `error` says."""
    code = error.code if error else AcknowledgementCode.ACCEPT
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
