"""Media types of messages, read tolerantly (RFC 2045 5.1, SOAP 1.2 part 2 7.1.4, XOP 1.0 5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from shared.faults import SenderFault

SOAP_XML = "application/soap+xml"
XOP_XML = "application/xop+xml"
MULTIPART = "multipart/related"

_TYPE = re.compile(r"\s*([^\s/;]+/[^\s/;]+)\s*(?=;|$)")
_PARAMETER = re.compile(r';\s*(?:([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*)?(?=;|$)', re.DOTALL)
_FOLDING = re.compile(r"\r?\n[ \t]+")


@dataclass(frozen=True, slots=True)
class MediaType:
    """`name` and the names of `parameters` are in lower case; values are as sent, without quotes."""

    name: str
    parameters: Mapping[str, str]

    def parameter(self, name: str) -> str:
        """The value of a parameter, or an empty string."""
        return self.parameters.get(name, "")


# Clients write the same few again and again; those of MTOM differ in their boundary alone, and pass through.
@lru_cache(maxsize=128)
def decode_media_type(header: str) -> MediaType:
    """Read a Content-Type header: any case, order, folding and blanks; the first of equal parameters counts.

    Raises
    ------
    SenderFault
        The header is empty or cannot be read.
    """
    unfolded = _FOLDING.sub(" ", header)
    match = _TYPE.match(unfolded)
    if match is None:
        raise SenderFault(
            "the request needs a Content-Type: application/soap+xml, or multipart/related for MTOM"
        )
    parameters: dict[str, str] = {}
    position = match.end()
    while position < len(unfolded):
        parameter = _PARAMETER.match(unfolded, position)
        if parameter is None:
            raise SenderFault("the Content-Type cannot be read; quote values that hold : / < > or blanks")
        position = parameter.end()
        name, quoted, plain = parameter.groups()
        if name:
            value = re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL) if quoted is not None else plain
            parameters.setdefault(name.lower(), value)
    return MediaType(match[1].lower(), parameters)


def action_of(media_type: MediaType) -> str:
    """The `action` parameter, also where a sender put it into `start-info`; empty when there is none."""
    if action := media_type.parameter("action"):
        return action.strip()
    start_info = media_type.parameter("start-info")
    return decode_media_type(start_info).parameter("action").strip() if ";" in start_info else ""
