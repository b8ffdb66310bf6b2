"""QIDO-RS (PS3.18 10.6): what a query asks for, and how its matches are given.

Parameters that are not known are left out, and a Warning says so; a value that cannot be is refused.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pydicom.datadict import tag_for_keyword

from shared.dicom import multipart, native_xml
from shared.dicom.uids import UID_FORM, is_uid
from shared.http.pieces import Piece
from shared.http.problem import BadRequest
from shared.imaging import negotiation
from shared.imaging.negotiation import Form
from shared.imaging.query.levels import QueryLevel
from shared.imaging.query.matching import MAX_DEPTH, Match, key_of, without_value
from shared.imaging.query.query import Query, is_matched
from shared.rest.message import HttpRequest, HttpResponse

MAX_MATCHES: Final = 1_000
MAX_INCLUDED: Final = 100
MAX_OFFSET: Final = 1_000_000
_CONTROLS: Final = frozenset(
    {
        "accept",
        "charset",
        "emptyvaluematching",
        "fuzzymatching",
        "includefield",
        "limit",
        "multiplevaluematching",
        "offset",
    }
)
ROUTES: Final = {
    "GET /dicomweb/studies": QueryLevel.STUDY,
    "GET /dicomweb/series": QueryLevel.SERIES,
    "GET /dicomweb/instances": QueryLevel.INSTANCE,
    "GET /dicomweb/studies/{study}/series": QueryLevel.SERIES,
    "GET /dicomweb/studies/{study}/instances": QueryLevel.INSTANCE,
    "GET /dicomweb/studies/{study}/series/{series}/instances": QueryLevel.INSTANCE,
}
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")
_NAME: Final = re.compile(r"[A-Za-z0-9.]{1,64}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,9}\Z")


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A query, the page of its matches that is asked for, and the form of the answer.

    `fuzzy` is the query with fuzzy matching of names, where that is asked for. `octets` is the query as it
    came, for the trail; `warnings` say what of it was left out.
    """

    query: Query
    fuzzy: Query | None = None
    limit: int = MAX_MATCHES
    offset: int = 0
    form: Form = Form.JSON
    octets: bytes = b""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResponse:
    """The matches of the page, each as it is sent."""

    matches: Sequence[bytes]
    form: Form
    warnings: tuple[str, ...] = ()


# --- in ----------------------------------------------------------------------------------------------


async def decode(request: HttpRequest) -> SearchRequest:
    """Read a query."""
    parameters = _Parameters(request)
    level = ROUTES[request.route]
    limit, offset = parameters.number("limit", MAX_MATCHES), parameters.number("offset", 0)
    if limit > MAX_MATCHES:
        parameters.warnings.append(f"limit is {MAX_MATCHES} at most")
    if offset > MAX_OFFSET:
        raise BadRequest(f"offset is {MAX_OFFSET} at most; narrow the search instead")
    include, whole = parameters.included()
    header, query = request.headers.get("accept"), ", ".join(request.query.get("accept", ())) or None
    of_path = _of_path(request.parameters)
    literal = Query(
        level=level,
        keys=(*of_path, *parameters.keys(level)),
        include=include,
        whole=whole,
        above=level is not QueryLevel.STUDY and "study" not in request.parameters,
    )
    fuzzy = (*of_path, *parameters.keys(level, fuzzy=True)) if parameters.flag("fuzzymatching") else ()
    return SearchRequest(
        query=literal,
        fuzzy=replace(literal, keys=fuzzy) if fuzzy else None,
        limit=min(limit, MAX_MATCHES),
        offset=offset,
        form=negotiation.metadata(header, query),
        octets=f"{request.path}?{request.scope.get('query_string', b'').decode('latin-1')}".encode(),
        warnings=tuple(dict.fromkeys(parameters.warnings)),
    )


def _of_path(uids: Mapping[str, str]) -> list[Match]:
    """The keys that stand in the path."""
    if not all(map(is_uid, uids.values())):
        raise BadRequest(f"the path holds something that is no UID: {UID_FORM}")
    tags = {"study": 0x0020000D, "series": 0x0020000E}
    return [key for name, uid in uids.items() if (key := key_of((tags[name],), uid))]


@dataclass(slots=True)
class _Parameters:
    """The query parameters of one request, and what is left out of them."""

    request: HttpRequest
    warnings: list[str] = field(default_factory=list)

    def number(self, name: str, default: int) -> int:
        """A whole number."""
        value = self._single(name)
        if value and not _NUMBER.match(value):
            raise BadRequest(f"{name} is a whole number from 0, of nine digits at most")
        return int(value or default)

    def flag(self, name: str) -> bool:
        """Whether something is wished."""
        value = self._single(name)
        if value not in ("", "true", "false"):
            raise BadRequest(f"{name} is true or false")
        return value == "true"

    def included(self) -> tuple[frozenset[int], bool]:
        """The tags that are to be told, and whether all are."""
        names = [name for value in self.request.form.get("includefield", ()) for name in value.split(",")]
        if len(names) > MAX_INCLUDED:
            raise BadRequest(f"more than {MAX_INCLUDED} attributes in includefield; ask for all")
        paths = {name: _path_of(name.strip()) for name in names if name.strip() not in ("all", "")}
        self._left_out("includefield", [name for name, path in paths.items() if not path])
        tags = frozenset(path[0] for path in paths.values() if path)
        return tags, any(name.strip() == "all" for name in names)

    def keys(self, level: QueryLevel, *, fuzzy: bool = False) -> list[Match]:
        """What has to be met."""
        several, empty = self.flag("multiplevaluematching"), self.flag("emptyvaluematching")
        keys, unknown = [], []
        for name in self.request.form:
            if name in _CONTROLS:
                continue
            path = _path_of(name)
            if not path or not is_matched(path, level):
                unknown.append(name)
                continue
            value = self._single(name)
            if empty and value == '""':
                keys.append(without_value(path))
                continue
            key = key_of(path, value, fuzzy=fuzzy, several=several)
            keys += [key] if key else []
        self._left_out("", unknown)
        return keys

    def _single(self, name: str) -> str:
        values = self.request.form.get(name, ("",))
        if len(values) > 1:
            raise BadRequest(f"{name if _NAME.match(name) else 'a parameter'} stands more than once")
        return values[0]

    def _left_out(self, where: str, names: Sequence[str]) -> None:
        if names:
            # What is no attribute may be called by anything, as by a patient's name.
            words = (name if _NAME.match(name) and _path_of(name) else "another" for name in names[:8])
            listed = ", ".join(dict.fromkeys(words))
            self.warnings.append(f"not known here, and left out{f' of {where}' if where else ''}: {listed}")


def _path_of(name: str) -> tuple[int, ...]:
    """The tags of an attribute by its keyword or tag, or of one in a sequence; empty when it is none."""
    parts = name.split(".")
    if len(parts) > MAX_DEPTH:
        return ()
    tags = [int(part, 16) if _TAG.match(part) else tag_for_keyword(part) for part in parts]
    return tuple(tag for tag in tags if tag is not None) if None not in tags else ()


async def encoded(matches: Sequence[Mapping[str, Any]], form: Form) -> list[bytes]:
    """Matches as they are sent."""
    encode_match = native_xml.encode if form is Form.XML else _json
    return await asyncio.to_thread(lambda: [encode_match(one) for one in matches])


def _json(attributes: Mapping[str, Any]) -> bytes:
    return json.dumps(attributes, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


# --- out ---------------------------------------------------------------------------------------------


def encode(response: SearchResponse) -> HttpResponse:
    """The matches as one array of DICOM JSON, or each as a part in XML; none are an empty array."""
    headers = {"cache-control": "private, no-cache"}
    if response.warnings:
        text = "; ".join(response.warnings).replace('"', "'")
        headers["warning"] = f'299 xdsi "{text}"'
    if response.form is Form.JSON:
        octets = b"[" + b",".join(response.matches) + b"]"
        return HttpResponse(media_type=negotiation.DICOM_JSON, headers=headers, pieces=(octets,))
    boundary = multipart.new_boundary()
    pieces: list[Piece] = []
    for one in response.matches:
        pieces += [multipart.part_head(boundary, [("Content-Type", negotiation.DICOM_XML)]), one]
    return HttpResponse(
        media_type=multipart.content_type(boundary, negotiation.DICOM_XML),
        headers=headers,
        pieces=(*pieces, multipart.closing(boundary)),
    )
