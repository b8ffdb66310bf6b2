"""The Native DICOM Model (PS3.19 A.1): data sets of the DICOM JSON model as XML.

Values become text as PS3.19 table A.1.5-2 says; a private element names its creator, and its tag has 00 for
the creator's block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from lxml import etree
from pydicom.datadict import keyword_for_tag

from shared.xml import Element, parse

MEDIA_TYPE: Final = "application/dicom+xml"
_NAMESPACE: Final = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
_NAME_PARTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
# What XML 1.0 cannot say at all (2.2): it stands as U+FFFD, so that what is around it is kept.
_UNSAYABLE: Final = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\ufffd")

# A bare carriage return would be read as a line feed.
_LINE_ENDS: Final = {"\r": "&#13;"}


def encode(attributes: Mapping[str, Any]) -> bytes:
    """Encode one data set of the DICOM JSON model (PS3.18 annex F) as a document."""
    body = "".join(_attributes(attributes))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<NativeDicomModel xmlns="{_NAMESPACE}" xml:space="preserve">{body}</NativeDicomModel>'
    ).encode()


def _attributes(attributes: Mapping[str, Any]) -> Iterator[str]:
    for tag in sorted(attributes):
        element = attributes[tag]
        yield f"<DicomAttribute {_names(tag, attributes)} vr={quoteattr(element['vr'])}>"
        yield from _content(element)
        yield "</DicomAttribute>"


def _names(tag: str, attributes: Mapping[str, Any]) -> str:
    if int(tag[3], 16) % 2 and tag[4:6] != "00":
        (creator,) = attributes.get(f"{tag[:4]}00{tag[4:6]}", {}).get("Value", ("",))
        return f'tag="{tag[:4]}00{tag[6:]}" privateCreator={_quoted(creator)}'
    keyword = keyword_for_tag(int(tag, 16))
    return f'tag="{tag}"' + (f' keyword="{keyword}"' if keyword else "")


def _content(element: Mapping[str, Any]) -> Iterator[str]:
    if "BulkDataURI" in element:
        yield f"<BulkData uri={_quoted(element['BulkDataURI'])}/>"
    elif "InlineBinary" in element:
        yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
    else:
        yield from _values(element["vr"], element.get("Value", ()))


def _values(vr: str, values: Sequence[Any]) -> Iterator[str]:
    for number, value in enumerate(values, 1):
        if value is None:
            continue
        if vr == "SQ":
            yield f'<Item number="{number}">{"".join(_attributes(value))}</Item>'
        elif vr == "PN":
            yield f'<PersonName number="{number}">{"".join(_name(value))}</PersonName>'
        else:
            yield f'<Value number="{number}">{_text(value)}</Value>'


def _name(groups: Mapping[str, str]) -> Iterator[str]:
    for group, name in groups.items():
        parts = zip(_NAME_PARTS, name.split("^"), strict=False)
        components = "".join(f"<{part}>{_text(text)}</{part}>" for part, text in parts if text)
        yield f"<{group}>{components}</{group}>"


def _text(value: object) -> str:
    return escape(str(value).translate(_UNSAYABLE), _LINE_ENDS)


def _quoted(value: str) -> str:
    return quoteattr(value.translate(_UNSAYABLE))


# --- reading -----------------------------------------------------------------------------------------

_TAG: Final = re.compile("[0-9A-F]{8}")
#: Most values of one element, which are made room for by the number of one.
_MOST_VALUES: Final = 1_000_000
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS: Final[Mapping[str, Callable[[str], int | float]]] = {
    **dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US", "UV"), int),
    **dict.fromkeys(("FD", "FL"), float),
}


class NotNative(ValueError):
    """A document that is not of the Native DICOM Model."""


def decode(octets: bytes) -> dict[str, Any]:
    """A data set in the DICOM JSON model, from a document of the Native DICOM Model.

    Raises
    ------
    XmlError, NotNative
        No document that is taken; not of the model.
    """
    root = parse(octets)
    if etree.QName(root).localname != "NativeDicomModel":
        raise NotNative("the document is no NativeDicomModel")
    return _decoded(root)


def _decoded(data_set: Element) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for element in data_set.iterfind("{*}DicomAttribute"):
        tag, vr = element.get("tag", "").upper(), element.get("vr", "")
        if not _TAG.fullmatch(tag) or not vr:
            raise NotNative("a DicomAttribute has no tag or no vr")
        attributes[_with_block(tag, element.get("privateCreator"), attributes)] = {"vr": vr} | _read(
            vr, element
        )
    return attributes


def _with_block(tag: str, creator: str | None, attributes: Mapping[str, Any]) -> str:
    """The tag of a private element with the block that its creator has."""
    if creator is None or tag[4:6] != "00":
        return tag
    for block in range(0x10, 0x100):
        if attributes.get(f"{tag[:4]}00{block:02X}", {}).get("Value") == [creator]:
            return f"{tag[:4]}{block:02X}{tag[6:]}"
    raise NotNative("a private element names a creator that has no block")


def _read(vr: str, element: Element) -> dict[str, Any]:
    if (bulk := element.find("{*}BulkData")) is not None:
        return {"BulkDataURI": bulk.get("uri") or bulk.get("uuid") or ""}
    if (inline := element.find("{*}InlineBinary")) is not None:
        return {"InlineBinary": "".join((inline.text or "").split())}
    if vr == "SQ":
        values: list[Any] = [_decoded(item) for item in element.iterfind("{*}Item")]
    elif vr == "PN":
        values = [_person_name(name) for name in element.iterfind("{*}PersonName")]
    else:
        values = _numbered(vr, element)
    return {"Value": values} if values else {}


def _numbered(vr: str, element: Element) -> list[Any]:
    """Values in the places that their numbers say; places without one are empty."""
    number_of = _NUMBERS.get(vr, str)
    values: list[Any] = []
    for value in element.iterfind("{*}Value"):
        place = value.get("number", "")
        at = int(place) if place.isascii() and place.isdecimal() else len(values) + 1
        if not len(values) < at <= _MOST_VALUES:
            raise NotNative("the numbers of values do not ascend")
        values += [None] * (at - len(values) - 1)
        try:
            values.append(number_of(value.text or ""))
        except ValueError:
            raise NotNative(f"a value of {vr} is no number") from None
    return values


def _person_name(name: Element) -> dict[str, str]:
    groups = {}
    for group in _GROUPS:
        if (components := name.find(f"{{*}}{group}")) is not None:
            parts = [components.findtext(f"{{*}}{part}") or "" for part in _NAME_PARTS]
            groups[group] = "^".join(parts).rstrip("^")
    return groups
