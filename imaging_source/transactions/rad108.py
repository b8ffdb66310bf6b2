"""Store Instances over the Web [RAD-108]: STOW-RS, the receiving side (PS3.18 10.5).

`POST /studies` and `POST /studies/{study}` take multipart/related of application/dicom. Parts go to files as
they arrive, so memory does not grow with them; every instance that the answer lists as stored is durable.
Tolerated: one Part 10 file as the whole body, and parts that do not name their type.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from imaging_source.domain import negotiation
from imaging_source.domain.intake import PROCESSING_FAILURE, Claim, Refused
from imaging_source.domain.negotiation import Form
from imaging_source.domain.stow import Outcome, Results, results_module, status_of
from imaging_source.domain.transfer import Sender
from imaging_source.store.files import Incoming
from imaging_source.store.transfers import Transfer
from imaging_source.unit import Unit
from shared.attempts import to_its_end
from shared.audit.events import http_push_participants, ihe, purposes
from shared.dicom import native_xml
from shared.dicom.multipart import APPLICATION_DICOM
from shared.dicom.uids import UID_FORM, is_uid
from shared.faults import SenderFault
from shared.http.media_type import MULTIPART, MediaType, decode_media_type
from shared.http.multipart import Parts
from shared.http.problem import (
    BadRequest,
    HttpProblem,
    NotAcceptable,
    StorageFull,
    TooLarge,
    WrongMediaType,
)
from shared.http.raw_asgi import ClientGone
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import REJECTION_NOTE, Right

RAD108: Final = ihe("RAD-108", "Store Instances over the Web")

_BATCH_BYTES: Final = 1024**2
_STORING_AT_ONCE: Final = 4
# Orthanc writes 73 characters where RFC 2046 allows 70 (tests/peers/test_orthanc_store.py).
_LONGEST_BOUNDARY: Final = 128
# In the header; the body names those of each instance.
_WARNINGS: Final = 8
_WANTED: Final = f'send multipart/related; type="{APPLICATION_DICOM}", one Part 10 file in each part'


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
    parts_of_dicom = media_type.name == MULTIPART and part_type in ("", APPLICATION_DICOM)
    if not parts_of_dicom and media_type.name != APPLICATION_DICOM:
        raise WrongMediaType(_WANTED)
    return media_type


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: StoreRequest) -> StoreResponse:
    """Store what comes, and record what became of each study."""
    await _admit(unit, request)
    may_reject = unit.parts.authenticator.rights.may(unit.caller.node, REJECTION_NOTE)
    transfer = Transfer(sender=_sender(unit.caller), may_reject=may_reject)
    claim = Claim(study_instance_uid=request.study_instance_uid)
    try:
        results = await _receive(unit, request, transfer, claim)
    finally:
        # Also when the sender has gone: what came of it is kept, and stands in the trail.
        await to_its_end(unit.parts.instances.conclude(transfer, unit.parts.recorder.record))
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
        transaction=RAD108,
        participants=http_push_participants(caller, server=True),
        purposes=purposes(caller.user),
    )


# --- receiving ---------------------------------------------------------------------------------------


async def _receive(unit: Unit, request: StoreRequest, transfer: Transfer, claim: Claim) -> Results:
    """Store the parts as they come; while one is being stored the next ones arrive."""
    tasks: list[asyncio.Task[Outcome]] = []
    problem: HttpProblem | None = None
    try:
        async with aclosing(_incoming(unit, request)) as parts:
            async for part in parts:
                tasks.append(asyncio.create_task(_store(unit, part, transfer, claim)))
                if len(tasks) >= _STORING_AT_ONCE:
                    await asyncio.wait(tasks[-_STORING_AT_ONCE : 1 - _STORING_AT_ONCE])
    except HttpProblem as found:
        problem = found
    except SenderFault as fault:
        problem = BadRequest(fault.reason)
    except ClientGone:
        problem = BadRequest("the connection ended before the message did")
    finally:
        outcomes = await asyncio.gather(*tasks)
    return Results(tuple(outcomes), problem)


async def _incoming(unit: Unit, request: StoreRequest) -> AsyncGenerator[Incoming | Refused]:
    """The parts of the request, each in a file aside, or why it is not."""
    most = unit.parts.settings.max_instances_per_request
    async with aclosing(request.chunks) as chunks:
        if request.media_type.name == APPLICATION_DICOM:
            yield await _spooled(unit, chunks)
            return
        count = 0
        boundary = request.media_type.parameter("boundary")
        async for part in Parts(chunks, boundary, max_parts=most + 1, max_boundary=_LONGEST_BOUNDARY):
            count += 1
            if count > most:
                reason = f"more than {most} instances in one request; send the rest in another"
                raise TooLarge(reason)
            part_type = part.headers.get("content-type", APPLICATION_DICOM)
            if part_type.partition(";")[0].strip().lower() == APPLICATION_DICOM:
                yield await _spooled(unit, part.chunks())
            else:
                yield Refused(PROCESSING_FAILURE, f"the Content-Type of a part is not {APPLICATION_DICOM}")


async def _spooled(unit: Unit, chunks: AsyncIterator[bytes]) -> Incoming | Refused:
    try:
        incoming = unit.parts.instances.files.new(max_bytes=unit.parts.settings.max_instance_bytes)
    except Refused as refused:
        return refused
    try:
        await _write(incoming, chunks)
    except Refused as refused:
        incoming.discard()
        return refused
    except BaseException:
        incoming.discard()
        raise
    return incoming


async def _write(incoming: Incoming, chunks: AsyncIterator[bytes]) -> None:
    gathered: list[bytes] = []
    waiting = 0
    async for chunk in chunks:
        gathered.append(chunk)
        waiting += len(chunk)
        if waiting >= _BATCH_BYTES:
            await asyncio.to_thread(incoming.write, b"".join(gathered))
            gathered, waiting = [], 0
    await asyncio.to_thread(incoming.write, b"".join(gathered))


async def _store(unit: Unit, part: Incoming | Refused, transfer: Transfer, claim: Claim) -> Outcome:
    if isinstance(part, Refused):
        await unit.parts.instances.refuse(part, transfer)
        return part
    try:
        spooled = await asyncio.to_thread(part.finish)
        return await unit.parts.instances.store_part10(spooled, transfer, claim)
    except Refused as refused:
        part.discard()
        return refused


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
    told = "; ".join(reasons).replace('"', "'")
    return {"warning": f'299 xdsi "{told}"'}


SERVED: Final[ServedRest[Any, Any]] = ServedRest(
    number="RAD-108",
    name="Store Instances (STOW-RS)",
    routes=("POST /dicomweb/studies", "POST /dicomweb/studies/{study}"),
    right=Right.STORE,
    decode=decode,
    handle=handle,
    encode=encode,
    problems={
        negotiation.NotAcceptable: NotAcceptable,
        SenderFault: lambda _: WrongMediaType(_WANTED),
        Refused: StorageFull,
    },
)
