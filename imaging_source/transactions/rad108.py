"""Store Instances over the Web [RAD-108]: STOW-RS, the receiving side (PS3.18 10.5).

`POST /studies` and `POST /studies/{study}` take multipart/related of application/dicom, or of metadata in
JSON or XML with their bulk data; every instance that the answer lists as stored is durable. Tolerated: one
Part 10 file as the whole body (`stow_body`).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from imaging_source.domain.intake import Refused
from imaging_source.domain.stow import Results, results_module, status_of
from imaging_source.domain.transfer import Sender
from imaging_source.store.transfers import Transfer
from imaging_source.transactions.stow_body import METADATA, receive
from imaging_source.unit import Unit
from shared.audit.events import http_push_participants, purposes
from shared.dicom import json as dicom_json
from shared.dicom import native_xml
from shared.dicom.multipart import APPLICATION_DICOM
from shared.dicom.uids import UID_FORM, is_uid
from shared.faults import SenderFault
from shared.http.media_type import MULTIPART, MediaType, decode_media_type
from shared.http.problem import (
    BadRequest,
    NotAcceptable,
    StorageFull,
    WrongMediaType,
)
from shared.imaging import negotiation
from shared.imaging.description import Claim
from shared.imaging.negotiation import Form
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import REJECTION_NOTE, Right

# In the header; the body names those of each instance.
_WARNINGS: Final = 8
_WANTED: Final = (
    f'send multipart/related; type="{APPLICATION_DICOM}", one Part 10 file in each part, or of type'
    f' "{dicom_json.MEDIA_TYPE}" or "{native_xml.MEDIA_TYPE}" with bulk data'
)


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRequest:
    """What comes in the body as `chunks`, of `length` bytes when that is announced, else 0; the study that
    the path names, or empty; and the `form` of the answer."""

    study_instance_uid: str
    form: Form
    media_type: MediaType
    length: int
    chunks: AsyncGenerator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResponse:
    """What became of the parts; `base` is the URL of DICOM web services."""

    results: Results
    base: str
    study_instance_uid: str
    form: Form


async def decode(request: HttpRequest) -> StoreRequest:
    """Read what is announced; nothing of the body yet."""
    headers = request.headers
    form = negotiation.stored(headers.get("accept"))
    study_instance_uid = request.parameters.get("study", "")
    if study_instance_uid and not is_uid(study_instance_uid):
        raise BadRequest(f"the study in the path is not a UID: {UID_FORM}")
    length = headers.get("content-length", "")
    return StoreRequest(
        study_instance_uid=study_instance_uid,
        form=form,
        media_type=_media_type(headers),
        length=int(length[:18]) if length.isascii() and length.isdecimal() else 0,
        chunks=request.chunks(),
    )


def _media_type(headers: Mapping[str, str]) -> MediaType:
    """The Content-Type of a request that can be served."""
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise WrongMediaType("send the body without Content-Encoding")
    media_type = decode_media_type(headers.get("content-type", ""))
    part_type = media_type.parameter("type").partition(";")[0].strip().lower()
    parts_are_taken = media_type.name == MULTIPART and part_type in ("", APPLICATION_DICOM, *METADATA)
    if not parts_are_taken and media_type.name != APPLICATION_DICOM:
        raise WrongMediaType(_WANTED)
    return media_type


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: StoreRequest) -> StoreResponse:
    """Store what comes, and record what became of each study."""
    await _admit(unit, request)
    may_reject = unit.parts.authenticator.rights.may(unit.caller.node, REJECTION_NOTE)
    transfer = Transfer(sender=_sender(unit.caller), sent_by=unit.caller.node.subject, may_reject=may_reject)
    claim = Claim(study_instance_uid=request.study_instance_uid)
    async with unit.parts.instances.concluding(transfer, unit.parts.recorder.record):
        results = await receive(unit, request.media_type, request.chunks, transfer, claim)
    unit.audited = True
    return StoreResponse(
        results=results,
        base=unit.parts.settings.dicomweb_url,
        study_instance_uid=request.study_instance_uid,
        form=request.form,
    )


async def _admit(unit: Unit, request: StoreRequest) -> None:
    """Refuse work that could not be recorded or kept."""
    await unit.parts.recorder.check()
    unit.parts.instances.files.admit(request.length)


def _sender(caller: Caller) -> Sender:
    return Sender(
        transaction=SERVED.event_type,
        participants=http_push_participants(caller, server=True),
        purposes=purposes(caller.user),
    )


# --- answering ---------------------------------------------------------------------------------------


def encode(response: StoreResponse) -> HttpResponse:
    """The Store Instances Response Module, unless no part came."""
    results = response.results
    if not results.outcomes:
        raise results.problem or BadRequest(f"no part; {_WANTED}")
    status = status_of(results)
    module = results_module(results, response.base, response.study_instance_uid)
    if response.form is Form.XML:
        return _response(status, results, negotiation.DICOM_XML, native_xml.encode(module))
    octets = json.dumps(module, separators=(",", ":")).encode()
    return _response(status, results, negotiation.DICOM_JSON, octets)


def _response(status: HTTPStatus, results: Results, media_type: str, octets: bytes) -> HttpResponse:
    return HttpResponse(status=status, media_type=media_type, headers=_warning(results), pieces=(octets,))


def _warning(results: Results) -> dict[str, str]:
    """Why the message was not read to its end, and what was tolerated of what is stored (RFC 7234 5.5)."""
    reasons = [results.problem.detail] if results.problem else []
    reasons += results.warnings[:_WARNINGS]
    if not reasons:
        return {}
    text = "; ".join(reasons).replace('"', "'")
    return {"warning": f'299 xdsi "{text}"'}


SERVED: Final[ServedRest[Any, Any]] = ServedRest(
    number="RAD-108",
    name="Store Instances over the Web",
    routes=("POST /dicomweb/studies", "POST /dicomweb/studies/{study}"),
    right=Right.STORE,
    decode=decode,
    handle=handle,
    encode=encode,
    problems={
        negotiation.NothingAcceptable: NotAcceptable,
        SenderFault: lambda _: WrongMediaType(_WANTED),
        Refused: StorageFull,
    },
)
