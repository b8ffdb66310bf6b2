"""The forms of identifiers and data types of ITI TF-3 4.2.3.1.7, as regular expressions and small readers."""

from __future__ import annotations

import re
from calendar import monthrange
from typing import Final

OID: Final = re.compile(r"(?=.{3,64}\Z)[0-2](?:\.(?:0|[1-9]\d*))+\Z", re.ASCII)
UUID: Final = re.compile(r"urn:uuid:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.ASCII)
HASH: Final = re.compile(r"[0-9A-Fa-f]{40}\Z", re.ASCII)
MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(?:\s*;.*)?\Z", re.ASCII)
LANGUAGE: Final = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*\Z", re.ASCII)
_DTM: Final = re.compile(r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d))?)?)?)?)?\Z", re.ASCII)


def is_oid_urn(text: str) -> bool:
    """`urn:oid:` and an OID of at most 64 characters."""
    return text.startswith("urn:oid:") and OID.match(text.removeprefix("urn:oid:")) is not None


def wrong_dtm(text: str) -> str:
    """What is wrong with a time of metadata (UTC, 4 to 14 digits); empty when nothing is."""
    match = _DTM.match(text)
    if match is None:
        return "not YYYY[MM[DD[hh[mm[ss]]]]] in digits, without zone and fraction"
    year, month, day, hour, minute, second = (int(each) if each else None for each in match.groups())
    if month is not None and not 1 <= month <= 12:
        return "no such month"
    if day is not None and not 1 <= day <= monthrange(max(1, year or 1), month or 1)[1]:
        return "no such day"
    if any(each is not None and each > most for each, most in ((hour, 23), (minute, 59), (second, 59))):
        return "no such time of day"
    return ""


def _authority(component: str) -> str:
    """What is wrong with `&OID&ISO`; empty when nothing is."""
    parts = component.split("&")
    if len(parts) != 3 or parts[0] or parts[2] != "ISO":
        return "the assigning authority is not &OID&ISO"
    return "" if OID.match(parts[1]) else "the assigning authority is no OID"


def wrong_cx(text: str) -> str:
    """What is wrong with a CX, `id^^^&OID&ISO`."""
    if "&amp;" in text:
        return "the ampersands are escaped twice"
    components = text.split("^")
    if len(components) != 4:
        return f"{len(components)} components where 4 are due: id^^^&OID&ISO"
    if not components[0]:
        return "no id"
    if components[1] or components[2]:
        return "the second and third component are not empty"
    return _authority(components[3])


def wrong_cxi(text: str) -> str:
    """What is wrong with a CXi, `id^^^&OID&ISO^type`."""
    components = text.split("^")
    if len(components) != 5:
        return f"{len(components)} components where 5 are due: id^^^&OID&ISO^type"
    if not components[0]:
        return "no id"
    if components[1] or components[2]:
        return "the second and third component are not empty"
    if not components[4] or components[4] != components[4].strip():
        return "no type code in the fifth component"
    if not components[3]:
        return "an assigning authority is due" if components[4] in _WITH_AUTHORITY else ""
    parts = components[3].split("&")
    if len(parts) == 1:
        return ""
    return _authority("&".join(("", *parts[1:])))


_WITH_AUTHORITY: Final = frozenset(
    {
        "urn:ihe:iti:xds:2013:referral",
        "urn:ihe:iti:xds:2013:order",
        "urn:ihe:iti:xds:2015:encounterId",
    }
)


def wrong_xcn(text: str) -> str:
    """What is wrong with an XCN: a person."""
    components = text.split("^")
    if not components[0] and not (len(components) > 1 and components[1]):
        return "neither id nor family name"
    if len(components) > 8 and components[8]:
        return _authority(components[8])
    return ""


def wrong_xon(text: str) -> str:
    """What is wrong with an XON: an organization."""
    components = text.split("^")
    if not components[0]:
        return "no name in the first component"
    if len(components) > 10 and any(components[10:]):
        return "more than ten components"
    authority = components[5] if len(components) > 5 else ""
    id = components[9] if len(components) > 9 else ""
    if authority and (wrong := _authority(authority)):
        return wrong
    if authority and not id:
        return "an assigning authority without id"
    if id and not authority and not OID.match(id):
        return "an id that is no OID needs its assigning authority in the sixth component"
    return ""


def wrong_xtn(text: str) -> str:
    """What is wrong with an XTN: mail or telephone."""
    components = [*text.split("^"), *("",) * 12]
    if components[2] == "Internet":
        return "" if components[3] else "no address in the fourth component"
    if not components[2]:
        return "no equipment type in the third component"
    return "" if components[6] or components[11] else "no number in the seventh component"
