"""Which of its representations a DICOM web resource is given in (PS3.18 8.7; RAD TF-2 4.107).

Tolerated: no Accept header (the default is given); an unquoted `type`; `transfer-syntax` inside the quoted
`type`; `application/json` for DICOM JSON; media types that do not fit the resource beside one that does; a
bare `*` for `*/*`, and weights such as `.2` and `1.0000`, both of which Java writes by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby
from typing import Final

from shared.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    RLE,
    UNCOMPRESSED,
    VIDEO,
)
from shared.imaging.bulk_data import MPEG2, OCTETS
from shared.imaging.transfer_syntax import (
    ANY,
    AsStored,
    Choice,
    Codecs,
    Impossible,
    Transcode,
    choose,
    choose_default,
)

DICOM: Final = "application/dicom"
DICOM_JSON: Final = "application/dicom+json"
DICOM_XML: Final = "application/dicom+xml"
MULTIPART: Final = "multipart/related"
MAX_RANGES: Final = 64
# Who asks for them alone is told that they cannot be had (PS3.18 8.7.3.5.2).
_NOT_ON_THE_WEB: Final = frozenset({IMPLICIT_LE, EXPLICIT_BE})

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # of a media type (RFC 9110 5.6.2)
_RANGE: Final = re.compile(rf"\s*(?:({_TOKEN})/({_TOKEN})|\*)\s*")
_PARAMETER: Final = re.compile(rf';\s*(?:({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*)?')
_QVALUE: Final = re.compile(r"(?:0?\.\d{1,15}|0\.?|1(?:\.0{0,15})?)\Z", re.ASCII)


class Malformed(ValueError):
    """The Accept header or the query parameter cannot be read; the answer is 400."""


class NothingAcceptable(ValueError):
    """No representation fits; the answer is 406. The text tells what could be asked for."""


class Form(Enum):
    """The representations that exist."""

    MULTIPART_DICOM = "multipart"
    SINGLE_DICOM = "single"
    JSON = "json"
    XML = "xml"
    MULTIPART_OCTETS = "multipart octets"
    SINGLE_OCTETS = "octets"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRange:
    """One member of an Accept header; names in lower case, `quality` 0 to 1, `parameters` without `q`."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    quality: float = 1.0

    @property
    def part_type(self) -> str:
        """Of multipart/related: the type of its parts; empty when none is given."""
        return self.parameters.get("type", "").partition(";")[0].strip().lower()

    @property
    def transfer_syntax(self) -> str:
        """The transfer syntax that is asked for, `*`, or empty."""
        if syntax := self.parameters.get("transfer-syntax", ""):
            return syntax
        inside = re.search(r";\s*transfer-syntax\s*=\s*([^\s;]+)", self.parameters.get("type", ""))
        return inside[1].strip("\"'") if inside else ""


def media_ranges(text: str) -> tuple[MediaRange, ...]:
    """Read an Accept header, or the decoded query parameter; best quality first, else in their order.

    Raises
    ------
    Malformed
        It cannot be read, or has more than `MAX_RANGES` members.
    """
    ranges = sorted(_members(text), key=lambda member: -member.quality)
    return tuple(member for member in ranges if member.quality > 0)


def _members(text: str) -> Iterator[MediaRange]:
    at, count = 0, 0
    while at < len(text):
        if text[at] in ", \t":
            at += 1
            continue
        count += 1
        match = _RANGE.match(text, at)
        if match is None or count > MAX_RANGES:
            raise Malformed(f'Accept is no list of media types such as {MULTIPART}; type="{DICOM}"')
        parameters, at = _parameters(text, match.end())
        if at < len(text) and text[at] != ",":
            raise Malformed("Accept has something behind a media type that is no parameter")
        quality = parameters.pop("q", "1")
        if not _QVALUE.match(quality):
            raise Malformed("q is a number from 0 to 1, such as 0.5")
        name = f"{match[1] or '*'}/{match[2] or '*'}".lower()
        yield MediaRange(name=name, parameters=parameters, quality=float(quality))


def _parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    while match := _PARAMETER.match(text, at):
        at = match.end()
        if match[1]:
            parameters.setdefault(match[1].lower(), _unquoted(match[2]))
    return parameters, at


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


# --- instances ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Acceptable:
    """How instances may be given: the form, and groups of transfer syntaxes, the best liked first.

    In a group stand UIDs, `*` for whatever is stored, and the empty text for the server's default.
    """

    form: Form
    transfer_syntaxes: tuple[frozenset[str], ...]

    @property
    def takes_what_is_stored(self) -> bool:
        """Whether what cannot be given in another transfer syntax may come as it is stored."""
        return any("" in group or ANY in group for group in self.transfer_syntaxes)

    def choose(self, stored: str, has_pixels: bool, *, decoded_size: int, codecs: Codecs) -> Choice:
        """How an instance is given: by the first group that can be met."""
        choice: Choice = Impossible("no transfer syntax was asked for")
        for group in self.transfer_syntaxes:
            choice = _by_group(group, stored, has_pixels, decoded_size, codecs)
            if not isinstance(choice, Impossible):
                break
        return choice


def _by_group(
    group: frozenset[str], stored: str, has_pixels: bool, decoded_size: int, codecs: Codecs
) -> Choice:
    if ANY in group:
        return choose(stored, (ANY,), has_pixels)
    by_default = "" in group
    syntaxes = (group - {""}) | ({EXPLICIT_LE} if by_default else frozenset())
    choice = choose(stored, tuple(syntaxes), has_pixels, decoded_size=decoded_size, codecs=codecs)
    if isinstance(choice, Impossible) and by_default:
        return choose_default(stored, has_pixels, decoded_size=decoded_size, codecs=codecs)
    return choice


def instances(header: str | None, query: str | None, *, single: bool) -> Acceptable:
    """How the instances of a resource may be given; `single` tells that it is one instance.

    Raises
    ------
    Malformed, NothingAcceptable
        400, 406.
    """
    for ranges in offers(header, query):
        listed = [(_form_of_instances(one, single), one) for one in ranges]
        fitting = [(form, one) for form, one in listed if form is not None]
        if fitting:
            form = fitting[0][0]
            return Acceptable(form, tuple(_groups(one for of, one in fitting if of is form)))
    could = f'{MULTIPART}; type="{DICOM}"' + (f" or {DICOM}" if single else "")
    raise NothingAcceptable(f"ask for {could}")


def _groups(ranges: Iterable[MediaRange]) -> Iterator[frozenset[str]]:
    for _, alike in groupby(ranges, key=lambda one: one.quality):
        yield frozenset(one.transfer_syntax for one in alike) - _NOT_ON_THE_WEB


def _form_of_instances(one: MediaRange, single: bool) -> Form | None:
    if one.name in ("*/*", "multipart/*"):
        return Form.MULTIPART_DICOM
    if one.name == MULTIPART:
        fits = one.part_type in ("", "*/*", "application/*", DICOM)
        return Form.MULTIPART_DICOM if fits else None
    if single and one.name in (DICOM, "application/*"):
        return Form.SINGLE_DICOM
    return None


# --- metadata ----------------------------------------------------------------------------------------

_JSON: Final = frozenset({DICOM_JSON, "application/json", "application/*", "*/*"})


_XML_PARTS: Final = frozenset({"", "*/*", "application/*", DICOM_XML})


def metadata(header: str | None, query: str | None) -> Form:
    """How metadata, and matches of a search, are given: as JSON, or as parts in XML.

    Raises
    ------
    Malformed, NothingAcceptable
        400, 406.
    """
    for ranges in offers(header, query):
        for one in ranges:
            if one.name in _JSON:
                return Form.JSON
            in_parts = one.name in (MULTIPART, "multipart/*") and one.part_type in _XML_PARTS
            if in_parts or one.name == DICOM_XML:
                return Form.XML
    raise NothingAcceptable(f'ask for {DICOM_JSON} or {MULTIPART}; type="{DICOM_XML}"')


# --- bulk data ---------------------------------------------------------------------------------------


def bulk_data(header: str | None, query: str | None) -> Form:
    """How a value that metadata leave in the file is given.

    Raises
    ------
    Malformed, NothingAcceptable
        400, 406.
    """
    for ranges in offers(header, query):
        for one in ranges:
            if one.name in ("*/*", "multipart/*"):
                return Form.MULTIPART_OCTETS
            if one.name == MULTIPART and one.part_type in ("", "*/*", "application/*", OCTETS):
                return Form.MULTIPART_OCTETS
            if one.name in (OCTETS, "application/*"):
                return Form.SINGLE_OCTETS
    raise NothingAcceptable(f'ask for {MULTIPART}; type="{OCTETS}" or {OCTETS}')


# --- frames ------------------------------------------------------------------------------------------

# Media types of compressed frames, and their transfer syntaxes; the first one where none is asked for.
_OF_FRAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "image/jpeg": (JPEG_LOSSLESS_SV1, JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS),
    "image/jls": (JPEG_LS_LOSSLESS, JPEG_LS_NEAR),
    "image/jp2": (JPEG_2000_LOSSLESS, JPEG_2000),
    "image/jphc": (HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL, HTJ2K),
    "image/dicom-rle": (RLE,),
    "video/mpeg": tuple(sorted(uid for uid in VIDEO if uid.startswith(MPEG2))),
    "video/mp4": tuple(sorted(uid for uid in VIDEO if not uid.startswith(MPEG2))),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameForm:
    """One way in which frames may be given: as parts or as the body, and the transfer syntaxes that are
    acceptable; `*` for whatever is stored, empty for what is not compressed, or as it is stored where that
    cannot be. `media_type` is empty where it is that of the transfer syntax."""

    single: bool
    media_type: str
    transfer_syntaxes: frozenset[str]

    @property
    def takes_what_is_stored(self) -> bool:
        """Whether what cannot be decoded may come as it is stored."""
        return "" in self.transfer_syntaxes

    def choose(self, stored: str, *, decoded_size: int, codecs: Codecs) -> Choice:
        """How the frames of an instance with pixels are given."""
        if stored in UNCOMPRESSED and not self.transfer_syntaxes.isdisjoint(("", ANY, EXPLICIT_LE)):
            # Frames have no header: native ones are alike, but for the whole that is deflated.
            return Transcode(EXPLICIT_LE) if stored == DEFLATED_LE else AsStored()
        if "" in self.transfer_syntaxes:
            return choose_default(stored, True, decoded_size=decoded_size, codecs=codecs)
        if ANY in self.transfer_syntaxes or stored in self.transfer_syntaxes:
            return AsStored()
        return choose(stored, tuple(self.transfer_syntaxes), True, decoded_size=decoded_size, codecs=codecs)


def frames(header: str | None, query: str | None, *, single: bool) -> tuple[FrameForm, ...]:
    """How frames may be given, the best liked first; `single` tells that it is one.

    Raises
    ------
    Malformed, NothingAcceptable
        400, 406.
    """
    for ranges in offers(header, query):
        if forms := tuple(form for one in ranges for form in _forms_of_frames(one, single)):
            return forms
    could = f'{MULTIPART}; type="{OCTETS}"' + (f" or {OCTETS}" if single else "")
    raise NothingAcceptable(f"ask for {could}, or one of {', '.join(_OF_FRAMES)} as that")


def _forms_of_frames(one: MediaRange, single: bool) -> Iterator[FrameForm]:
    in_parts = one.name in ("*/*", "multipart/*", MULTIPART)
    if not in_parts and not single:
        return
    name = (one.part_type if one.name == MULTIPART else "") if in_parts else one.name
    asked_for = one.transfer_syntax
    if asked_for in _NOT_ON_THE_WEB:
        return
    if name in ("", "*/*"):
        syntaxes = frozenset({asked_for})
        yield FrameForm(single=not in_parts, media_type="", transfer_syntaxes=syntaxes)
    elif name in (OCTETS, "application/*"):
        syntaxes = frozenset({asked_for or EXPLICIT_LE})
        yield FrameForm(single=not in_parts, media_type=OCTETS, transfer_syntaxes=syntaxes)
    elif name in _OF_FRAMES:
        yield from _of_kind((name,), asked_for, single=not in_parts)
    elif name.endswith("/*"):
        kind = name.removesuffix("*")
        yield from _of_kind(
            [one for one in _OF_FRAMES if one.startswith(kind)], asked_for, single=not in_parts
        )


def _of_kind(media_types: Sequence[str], asked_for: str, *, single: bool) -> Iterator[FrameForm]:
    """Compressed frames of one of these media types, best as they are stored."""
    listed = frozenset(uid for one in media_types for uid in _OF_FRAMES[one])
    syntaxes = listed if asked_for in ("", ANY) else listed & {asked_for}
    if syntaxes:
        media_type = media_types[0] if len(media_types) == 1 else ""
        yield FrameForm(single=single, media_type=media_type, transfer_syntaxes=syntaxes)


# --- what was stored ---------------------------------------------------------------------------------


def stored(header: str | None) -> Form:
    """How a Store Instances Response is given: as JSON unless XML is liked better (PS3.18 10.5.3).

    A header that cannot be read is no reason to leave images out: the answer is JSON then.

    Raises
    ------
    NothingAcceptable
        406.
    """
    try:
        ranges = media_ranges(header or "*/*")
    except Malformed:
        return Form.JSON
    for one in ranges:
        if one.name in _JSON or one.name == DICOM_XML:
            return Form.XML if one.name == DICOM_XML else Form.JSON
    raise NothingAcceptable(f"the answer is {DICOM_JSON} or {DICOM_XML}")


def offers(header: str | None, query: str | None) -> Iterator[Sequence[MediaRange]]:
    """What is asked for: first by the query parameter, which has no wildcards, then by the header."""
    if query:
        ranges = media_ranges(query)
        if any("*" in one.name or "*" in one.part_type for one in ranges):
            raise Malformed("the query parameter accept takes no wildcards; write the media type out")
        yield ranges
    yield media_ranges(header) if header and header.strip() else (MediaRange(name="*/*"),)
