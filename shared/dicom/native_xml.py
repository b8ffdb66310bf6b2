"""The Native DICOM Model (PS3.19 A.1): data sets of the DICOM JSON model as XML.

Values become text as PS3.19 table A.1.5-2 says; a private element names its creator, and its tag has 00 for
the creator's block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from pydicom.datadict import keyword_for_tag

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
