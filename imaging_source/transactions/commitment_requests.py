"""Storage commitment over the web (PS3.18 chapter 13): `/dicomweb/commitment-requests/{transaction}`.

A request is answered with its result (200), or with 202 while instances may be on their way; whoever asks
again hears the same result for a week. What it says is what storage commitment by DIMSE says (`rad10`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from imaging_source.domain.commitment import (
    MAX_INSTANCES,
    CommitmentRequest,
    CommitmentResult,
    FailureReason,
    ReferencedInstance,
    distinct,
)
from imaging_source.domain.intake import Refused
from imaging_source.domain.stow_metadata import decode_json
from imaging_source.store import commitments
from imaging_source.store.commitments import Commitment
from imaging_source.transactions import rad10
from imaging_source.unit import Parts, Unit
from shared.dicom import json as dicom_json
from shared.dicom import native_xml
from shared.dicom.json import Attributes
from shared.dicom.uids import UID_FORM, is_uid
from shared.faults import SenderFault
from shared.http.media_type import decode_media_type
from shared.http.problem import (
    BadRequest,
    Conflict,
    HttpProblem,
    NotAcceptable,
    NotFound,
    TooLarge,
    WrongMediaType,
)
from shared.imaging import negotiation
from shared.imaging.negotiation import Form
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.xml import XmlError

#: Whom results are kept for: an AE title has no slash in front, and asks by DIMSE.
_BY_WEB: Final = "/web"
_WANTED: Final = f"send {dicom_json.MEDIA_TYPE} or {native_xml.MEDIA_TYPE}"
_MOST_BYTES: Final = 8 * 1024**2
_REFERENCED: Final = 0x00081199
_SOP_CLASS: Final = 0x00081150
_SOP_INSTANCE: Final = 0x00081155


# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WebCommitmentRequest:
    """Which instances are asked about, none when it is asked for the result alone; the `form` of the
    answer."""

    transaction_uid: str
    form: Form
    instances: tuple[ReferencedInstance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebCommitmentResponse:
    """The result; None while there is none."""

    transaction_uid: str
    ae_title: str
    form: Form
    result: CommitmentResult | None


async def decode_request(request: HttpRequest) -> WebCommitmentRequest:
    """Read the instances that are asked about: a data set with Referenced SOP Sequence (0008,1199)."""
    question = await decode_check(request)
    name = decode_media_type(request.headers.get("content-type", "")).name
    if name not in (dicom_json.MEDIA_TYPE, native_xml.MEDIA_TYPE, "application/json"):
        raise WrongMediaType(_WANTED)
    octets = await _body(request.chunks())
    attributes = await asyncio.to_thread(_data_set, name, octets)
    instances = distinct([_instance(item) for item in dicom_json.items(attributes, _REFERENCED)])
    if not instances:
        raise BadRequest("(0008,1199) is absent or empty")
    if len(instances) > MAX_INSTANCES:
        raise TooLarge(f"{MAX_INSTANCES} instances are the most of one request")
    return WebCommitmentRequest(
        transaction_uid=question.transaction_uid, form=question.form, instances=instances
    )


async def decode_check(request: HttpRequest) -> WebCommitmentRequest:
    """Read which result is asked for."""
    transaction_uid = request.parameters["transaction"]
    if not is_uid(transaction_uid):
        raise BadRequest(f"the Transaction UID in the path is not a UID: {UID_FORM}")
    form = negotiation.stored(request.headers.get("accept"))
    return WebCommitmentRequest(transaction_uid=transaction_uid, form=form)


async def _body(chunks: AsyncIterator[bytes]) -> bytes:
    octets = bytearray()
    async for chunk in chunks:
        octets += chunk
        if len(octets) > _MOST_BYTES:
            raise TooLarge(f"more than {_MOST_BYTES} bytes; ask about fewer instances")
    return bytes(octets)


def _data_set(media_type: str, octets: bytes) -> Attributes:
    if media_type == native_xml.MEDIA_TYPE:
        return native_xml.decode(octets)
    data_sets = decode_json(octets)
    if len(data_sets) != 1:
        raise BadRequest("send one data set")
    return data_sets[0]


def _instance(item: Attributes) -> ReferencedInstance:
    one = ReferencedInstance(dicom_json.text(item, _SOP_CLASS), dicom_json.text(item, _SOP_INSTANCE))
    if not all(map(is_uid, one)):
        raise BadRequest("an item of (0008,1199) lacks (0008,1150) or (0008,1155)")
    return one


# --- expected actions --------------------------------------------------------------------------------


async def ask(unit: Unit, request: WebCommitmentRequest) -> WebCommitmentResponse:
    """Note the request durably, and answer with its result where there is one."""
    question = CommitmentRequest(
        ae_title=_BY_WEB, transaction_uid=request.transaction_uid, instances=request.instances
    )
    await commitments.note(unit.parts.database, question, datetime.now(UTC), reported=False)
    noted = await commitments.find(unit.parts.database, question.commitment_id)
    response = await _response(unit.parts, request, noted)
    if response.result is not None and response.result.is_refused(FailureReason.DUPLICATE_TRANSACTION_UID):
        raise Conflict("this Transaction UID was used for other instances; take another one")
    return response


async def check(unit: Unit, request: WebCommitmentRequest) -> WebCommitmentResponse:
    """Tell the result of a request that was made before."""
    noted = await commitments.find_first(unit.parts.database, _BY_WEB, request.transaction_uid)
    return await _response(unit.parts, request, noted)


async def _response(
    parts: Parts, request: WebCommitmentRequest, noted: Commitment | None
) -> WebCommitmentResponse:
    if noted is None:
        raise NotFound("no commitment was asked for by this Transaction UID, or its time is over")
    return WebCommitmentResponse(
        transaction_uid=request.transaction_uid,
        ae_title=parts.settings.ae_title,
        form=request.form,
        result=await rad10.decided(parts, noted),
    )


def encode(response: WebCommitmentResponse) -> HttpResponse:
    """The result as a data set; nothing while there is none."""
    if response.result is None:
        return HttpResponse(status=HTTPStatus.ACCEPTED, media_type=dicom_json.MEDIA_TYPE, pieces=(b"{}",))
    attributes = response.result.attributes(response.transaction_uid, response.ae_title)
    is_xml = response.form is Form.XML
    octets = native_xml.encode(attributes) if is_xml else json.dumps(attributes).encode()
    media_type = native_xml.MEDIA_TYPE if is_xml else dicom_json.MEDIA_TYPE
    return HttpResponse(status=HTTPStatus.OK, media_type=media_type, pieces=(octets,))


_ROUTE: Final = "/dicomweb/commitment-requests/{transaction}"
_PROBLEMS: Final[Mapping[type[Exception], Callable[[str], HttpProblem]]] = {
    negotiation.NothingAcceptable: NotAcceptable,
    native_xml.NotNative: BadRequest,
    XmlError: BadRequest,
    SenderFault: lambda _: WrongMediaType(_WANTED),
    Refused: BadRequest,
}
SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Request storage commitment",
        routes=(f"POST {_ROUTE}",),
        right=Right.STORE,
        decode=decode_request,
        handle=ask,
        encode=encode,
        problems=_PROBLEMS,
    ),
    ServedRest(
        name="Check storage commitment",
        routes=(f"GET {_ROUTE}",),
        right=Right.STORE,
        decode=decode_check,
        handle=check,
        encode=encode,
        problems=_PROBLEMS,
    ),
)
