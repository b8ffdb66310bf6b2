"""The data types of metadata attributes: their form, and equality as the standard wants it (ITI TF-3 table
4.2.3.1.7-2).

`is_x` tells whether a text has the form of x. `CX` and `CXi` are typed views: they compare by what they mean
and not by how they are written.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from uuid import uuid4

MAX_OID = 64

# Of XML; what else Unicode calls white space is content.
WHITE_SPACE = " \t\r\n"

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9][0-9]*))+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DOTTED = re.compile(r"[0-9.]+")
_UUID = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHA1 = re.compile(r"[0-9A-Fa-f]{40}")
_SIZE = re.compile(r"[0-9]{1,18}")
_LANGUAGE = re.compile(r"(?:[A-Za-z]{2,8}|[xXiI](?=-))(?:-[A-Za-z0-9]{1,8})*")
_TOKEN = r"[!#$&^_.+%'*`|~A-Za-z0-9-]+"  # noqa: S105  # of a media type (RFC 9110 5.6.2)
_MIME_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:\s*;.*)?")
_PATIENT_INFO = re.compile(r"PID-[1-9][0-9]?\|.*", re.DOTALL)

# A component: no separator of HL7 v2 but as one of the five escapes.
_COMPONENT = r"[^|^&~\\]*(?:\\[FSRTE]\\[^|^&~\\]*)*"
_FILLED = rf"(?=[^|^&~]){_COMPONENT}"
_AUTHORITY = r"&([0-2](?:\.(?:0|[1-9][0-9]*))+)&ISO"
_CX = re.compile(rf"({_FILLED})\^\^\^{_AUTHORITY}")
_HOME = r"(?:\^((?:urn:oid:)?[0-2](?:\.(?:0|[1-9][0-9]*))+)?)?"
_CXI = re.compile(rf"({_FILLED})\^\^\^({_COMPONENT})(?:{_AUTHORITY})?\^({_FILLED}){_HOME}")
_HD = re.compile(_AUTHORITY)

_SEPARATORS = {"F": "|", "S": "^", "R": "~", "T": "&", "E": "\\"}
_ESCAPE = re.compile(r"\\([FSRTE])\\")
_ESCAPED = str.maketrans({character: f"\\{letter}\\" for letter, character in _SEPARATORS.items()})


# --- identifiers -------------------------------------------------------------------------------------


def is_oid(text: str) -> bool:
    """An object identifier of at most 64 characters, at least two arcs, no leading zeros."""
    return len(text) <= MAX_OID and _OID.fullmatch(text) is not None


def is_unique_id(text: str) -> bool:
    """The uniqueId of a document: opaque for all but its creator (ITI TF-3 4.2.3.2.26), but never a path.

    What is made of digits and dots has no empty component; nothing else has a control character or `.` or
    `..` between slashes, because whoever retrieves the document may name a file by it.
    """
    if _DOTTED.fullmatch(text):
        return all(text.split("."))
    segments = re.split(r"[/\\]", text)
    return not _CONTROL.search(text) and {".", ".."}.isdisjoint(segments)


def is_oid_urn(text: str) -> bool:
    """`urn:oid:` and an OID: a homeCommunityId."""
    return text.startswith("urn:oid:") and is_oid(text[len("urn:oid:") :])


def is_uuid(text: str) -> bool:
    """`urn:uuid:` and a UUID in lower case: a permanent entryUUID."""
    return _UUID.fullmatch(text) is not None


def is_symbolic(object_id: str) -> bool:
    """An id that is valid inside one submission only: anything not starting with `urn:uuid:`."""
    return object_id[:9].lower() != "urn:uuid:"


def new_uuid() -> str:
    """A fresh entryUUID."""
    return f"urn:uuid:{uuid4()}"


def new_oid() -> str:
    """A fresh OID below 2.25, which anybody may derive from a UUID (ITU-T X.667)."""
    return f"2.25.{uuid4().int}"


# --- plain types -------------------------------------------------------------------------------------


def is_dtm(text: str) -> bool:
    """Digits `YYYY[MM[DD[hh[mm[ss]]]]]` that are a moment of the calendar."""
    if not (text.isascii() and text.isdigit() and len(text) in (4, 6, 8, 10, 12, 14)):
        return False
    try:
        _moment(text + "00000101000000"[len(text) :])
    except ValueError:
        return False
    return True


def _moment(digits: str) -> datetime:
    month, day, hour, minute, second = (int(digits[at : at + 2]) for at in range(4, 14, 2))
    return datetime(int(digits[:4]), month, day, hour, minute, second)


def is_sha1(text: str) -> bool:
    """Forty hexadecimal digits of either case."""
    return _SHA1.fullmatch(text) is not None


def is_size(text: str) -> bool:
    """A number of bytes, at most 18 digits."""
    return _SIZE.fullmatch(text) is not None


def is_language(text: str) -> bool:
    """A language tag (RFC 5646), by its form."""
    return _LANGUAGE.fullmatch(text) is not None


def is_mime_type(text: str) -> bool:
    """`type/subtype`, with parameters or without."""
    return _MIME_TYPE.fullmatch(text) is not None


def nfc(text: str) -> str:
    """Unicode normal form C, in which codes, ids and patterns are compared (ITI TF-3 4.1.4)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


# --- HL7 v2 types ------------------------------------------------------------------------------------


def unescape(component: str) -> str:
    r"""The meaning of a component: `\T\` is `&`, and so on."""
    if "\\" not in component:
        return component
    return _ESCAPE.sub(lambda match: _SEPARATORS[match[1]], component)


def escape_component(value: str) -> str:
    """`value` as a component of a field."""
    return value.translate(_ESCAPED)


@dataclass(frozen=True, slots=True)
class CX:
    """An identifier and the OID of its assigning authority; two are the same when both are (NFC,
    unescaped)."""

    id: str
    authority: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `id^^^&OID&ISO`.

        Raises
        ------
        ValueError
            The text has another form.
        """
        match = _CX.fullmatch(text)
        if match is None or len(match[2]) > MAX_OID:
            raise ValueError("not a CX of the form id^^^&OID&ISO")
        return cls(nfc(unescape(match[1])), match[2])

    @classmethod
    def written(cls, text: str, authority: str) -> Self:
        """Read what people write: an id of `authority`, or a whole CX.

        Raises
        ------
        ValueError
            It is neither.
        """
        if "^" in text:
            return cls.parse(text)
        if not text:
            raise ValueError("an id is not empty")
        return cls(nfc(text), authority)

    def __str__(self) -> str:
        """The one spelling of this identifier."""
        return f"{escape_component(self.id)}^^^&{self.authority}&ISO"


@dataclass(frozen=True, slots=True)
class CXi:
    """One value of referenceIdList; `namespace` and `authority` are empty where the id is globally unique.

    `home` is the homeCommunityId of a sixth component, which tells where the reference leads and is no
    part of its identity.
    """

    id: str
    type_code: str
    authority: str = ""
    namespace: str = ""
    home: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `id^^^[namespace]&OID&ISO^typeCode[^home]`.

        Raises
        ------
        ValueError
            The text has another form.
        """
        match = _CXI.fullmatch(text)
        if match is None or len(match[3] or "") > MAX_OID:
            raise ValueError("not a CXi of the form id^^^&OID&ISO^typeCode")
        return cls(
            id=nfc(unescape(match[1])),
            type_code=nfc(unescape(match[4])),
            authority=match[3] or "",
            namespace=nfc(unescape(match[2])),
            home=match[5] or "",
        )

    def __str__(self) -> str:
        """The one spelling of this reference, without where it leads."""
        authority = f"&{self.authority}&ISO" if self.authority else ""
        return (
            f"{escape_component(self.id)}^^^{escape_component(self.namespace)}{authority}"
            f"^{escape_component(self.type_code)}"
        )


def is_cx(text: str) -> bool:
    """`id^^^&OID&ISO` and nothing more."""
    match = _CX.fullmatch(text)
    return match is not None and len(match[2]) <= MAX_OID


def is_cxi(text: str) -> bool:
    """`id^^^[namespace]&OID&ISO^typeCode[^home]`; the assigning authority may be absent."""
    match = _CXI.fullmatch(text)
    return match is not None and len(match[3] or "") <= MAX_OID


def _is_authority(component: str) -> bool:
    match = _HD.fullmatch(component)
    return match is not None and len(match[1]) <= MAX_OID


def _components(field: str, count: int) -> list[str]:
    """The components of `field`, trailing empty ones left out, filled up to `count` with empty ones."""
    components = field.rstrip("^").split("^")
    return components + [""] * (count - len(components))


def is_xon(text: str) -> bool:
    """`name^^^^^&OID&ISO^^^^id`: an organisation.

    The name is required; the assigning authority belongs to an id that is not an OID, and only to such.
    """
    parts = _components(text, 10)
    name, authority, organization_id = parts[0], parts[5], parts[9]
    if len(parts) > 10 or not name or any(parts[1:5]) or any(parts[6:9]):
        return False
    if not organization_id or is_oid(organization_id):
        return not authority
    return _is_authority(authority)


def is_xcn(text: str) -> bool:
    """`id^family^given^middle^suffix^prefix^^^&OID&ISO`: a person, by an id or a family name."""
    parts = _components(text, 9)
    return bool(parts[0] or parts[1]) and (not parts[8] or _is_authority(parts[8]))


def is_xtn(text: str) -> bool:
    """A telecommunication address: `^^Internet^address`, or equipment in 3 with the local number in 7."""
    parts = _components(text, 7)
    if parts[2] == "Internet":
        return bool(parts[3])
    return bool(parts[2] and parts[6])


def is_coded_string(text: str) -> bool:
    """`code^^^&OID&ISO`, or a plain string."""
    return "^" not in text or is_cx(text)


def is_recipient(text: str) -> bool:
    """`XON|XCN|XTN` with at least one of the three: an intendedRecipient."""
    parts = text.rstrip("|").split("|")
    checks = (is_xon, is_xcn, is_xtn)
    return (
        bool(parts[-1])
        and len(parts) <= len(checks)
        and all(not part or check(part) for part, check in zip(parts, checks, strict=False))
    )


def is_patient_info(text: str) -> bool:
    """`PID-n|value`: one line of sourcePatientInfo."""
    return _PATIENT_INFO.fullmatch(text) is not None
