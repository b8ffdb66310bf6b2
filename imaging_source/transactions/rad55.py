"""WADO Retrieve [RAD-55]: WADO-URI, the answering side (RAD TF-2 4.55; PS3.18 9).

One instance, as a Part 10 file or as an image. What is rejected or refused is as if it did not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imaging_source.transactions import archived
from imaging_source.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.dicom.uids import EXPLICIT_BE, IMPLICIT_LE, UID_FORM, is_uid
from shared.http.problem import BadRequest, NotAcceptable, TooLarge
from shared.imaging import negotiation
from shared.imaging import wado_rs as rad107
from shared.imaging.bulk_data import BulkValue
from shared.imaging.negotiation import DICOM, Acceptable, Form
from shared.imaging.rendered import RenderRequest
from shared.imaging.rendered import handle as rendered
from shared.imaging.rendering import (
    MAX_SIDE,
    RENDERED,
    Rendering,
    RenderingError,
    TooManyPixels,
    Viewport,
    annotation_of,
    box_of,
    number_of,
    quality_of,
    window_of,
)
from shared.imaging.transfer_syntax import ANY
from shared.imaging.wado_rs import RetrieveRequest, RetrieveResponse, permitted_instances
from shared.imaging.wado_rs_http import encode
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

_UIDS: Final = ("studyUID", "seriesUID", "objectUID")
_KINDS: Final = (DICOM, *RENDERED)


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WadoRequest:
    """One instance, as it is to be given: as a file, or rendered; `state` as for `RenderRequest`."""

    resource: RetrieveRequest
    rendering: Rendering | None = None
    state: tuple[str, str] | None = None


async def decode(request: HttpRequest) -> WadoRequest:
    """Read the parameters."""
    query = request.form
    uids = [_single(query, name) for name in _UIDS]
    if _single(query, "requestType") != "WADO":
        raise BadRequest("requestType is WADO")
    if not all(map(is_uid, uids)):
        raise BadRequest(f"studyUID, seriesUID and objectUID are all needed, each a UID: {UID_FORM}")
    if _single(query, "anonymize"):
        raise BadRequest("instances are not anonymised here; ask without anonymize")
    headers = request.headers
    media_type = _media_type(_single(query, "contentType"), headers.get("accept", ""))
    study, series, instance = uids
    resource = RetrieveRequest(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=instance,
        acceptable=_acceptable(_single(query, "transferSyntax")) if media_type == DICOM else None,
        if_none_match=headers.get("if-none-match", ""),
        range=headers.get("range", ""),
        if_range=headers.get("if-range", ""),
    )
    if media_type == DICOM:
        return WadoRequest(resource=resource)
    rendering = _rendering(query, media_type)
    frames = (rendering.frame,) if rendering.frame else ()
    return WadoRequest(resource=replace(resource, frames=frames), rendering=rendering, state=_state(query))


def _single(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name, ("",))
    if len(values) > 1:
        raise BadRequest(f"{name} stands more than once")
    return values[0].strip()


def _media_type(wanted_types: str, accept: str) -> str:
    """The first kind of answer that both the parameter and the header take; an image without either."""
    for ranges in negotiation.offers(wanted_types or None, None):
        for one in ranges:
            for kind in (*RENDERED, DICOM):
                is_kind = one.name in (kind, "*/*", f"{kind.partition('/')[0]}/*")
                if is_kind and _accepts(accept, kind):
                    return kind
    raise NotAcceptable(f"contentType is one of {', '.join(_KINDS)}, and fits Accept")


def _accepts(accept: str, kind: str) -> bool:
    names = {"*/*", kind, f"{kind.partition('/')[0]}/*"}
    ranges = negotiation.media_ranges(accept)
    return not ranges or any(one.name in names for one in ranges)


def _acceptable(transfer_syntax: str) -> Acceptable:
    if transfer_syntax and transfer_syntax != ANY and not is_uid(transfer_syntax):
        raise BadRequest("transferSyntax is a UID, or *")
    if transfer_syntax in (IMPLICIT_LE, EXPLICIT_BE):
        raise NotAcceptable("the web has no Implicit VR and no Big Endian; ask for Explicit VR Little Endian")
    return Acceptable(Form.SINGLE_DICOM, (frozenset({transfer_syntax}),))


def _rendering(query: Mapping[str, Sequence[str]], media_type: str) -> Rendering:
    """How the image is to be shown.

    Raises
    ------
    RenderingError
        A value cannot be.
    """
    center, width = _single(query, "windowCenter"), _single(query, "windowWidth")
    if bool(center) != bool(width):
        raise RenderingError("windowCenter and windowWidth are given together")
    rows, columns = _single(query, "rows"), _single(query, "columns")
    form = f"rows and columns are numbers from 1 to {MAX_SIDE}"
    sides = box_of(columns or rows, rows or columns, form) if rows or columns else None
    if sides is not None:
        sides = sides[0] if columns else MAX_SIDE, sides[1] if rows else MAX_SIDE
    return Rendering(
        media_type=media_type,
        frame=_frame(_single(query, "frameNumber")),
        quality=quality_of(_single(query, "imageQuality")),
        viewport=None if sides is None else Viewport(width=sides[0], height=sides[1]),
        region=_region(_single(query, "region")),
        window=window_of(center, width) if center else None,
        annotation=annotation_of(_single(query, "annotation").split(",")),
    )


def _state(query: Mapping[str, Sequence[str]]) -> tuple[str, str] | None:
    """The series and the instance of the presentation state that is to be applied."""
    series, instance = _single(query, "presentationSeriesUID"), _single(query, "presentationUID")
    if not series and not instance:
        return None
    if not (is_uid(series) and is_uid(instance)):
        raise RenderingError(f"presentationUID and presentationSeriesUID are given together: {UID_FORM}")
    if _single(query, "region"):
        raise RenderingError("a presentation state has its own region; ask without one")
    return series, instance


def _frame(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise RenderingError("frameNumber is one number from 1")
    return int(text)


def _region(text: str) -> tuple[float, float, float, float] | None:
    if not text:
        return None
    form = "a region is xmin,ymin,xmax,ymax, each from 0 to 1"
    values = [number_of(part, form) for part in text.split(",")]
    if len(values) != 4 or not (0 <= values[0] < values[2] <= 1 and 0 <= values[1] < values[3] <= 1):
        raise RenderingError(form)
    return values[0], values[1], values[2], values[3]


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: WadoRequest) -> RetrieveResponse:
    """Give the instance, or an image of it."""
    resource = request.resource
    await archived.compare(unit, resource.study_instance_uid, resource.sop_instance_uid)
    if request.rendering is None:
        return _as_body(await rad107.handle(unit, resource))
    if resource.frames:
        permitted, _, _ = await permitted_instances(unit, resource)
        if permitted and resource.frames[0] > permitted[0].number_of_frames:
            raise BadRequest("frameNumber is beyond the last frame")
    return await rendered(
        unit, RenderRequest(resource=resource, rendering=request.rendering, state=request.state)
    )


def _as_body(response: RetrieveResponse) -> RetrieveResponse:
    """What RAD-107 gives, with the whole file as a value that is given in ranges too."""
    if not response.given:
        return response
    (one,) = response.given
    media_type = f"{DICOM}; transfer-syntax={one.transfer_syntax_uid}"
    return replace(response, given=(), values=(BulkValue(media_type, (one.file,)),), single=True)


def audit(
    request: WadoRequest, response: RetrieveResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the transfer, as RAD-107 does."""
    return rad107.transfer_events(SERVED.event_type, request.resource, response, caller, outcome)


SERVED: Final[ServedRest[WadoRequest, RetrieveResponse]] = ServedRest(
    number="RAD-55",
    name="WADO Retrieve",
    routes=("GET /wado",),
    right=Right.ASK,
    speaker=Speaker.USER,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=encode,
    problems={
        negotiation.Malformed: BadRequest,
        negotiation.NothingAcceptable: NotAcceptable,
        RenderingError: BadRequest,
        TooManyPixels: TooLarge,
        **archived.PROBLEMS,
    },
)
