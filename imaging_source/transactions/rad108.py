"""Store Instances over the Web [RAD-108]: STOW-RS, the receiving side (PS3.18 10.5).

`POST /studies` and `POST /studies/{study}` take multipart/related of application/dicom. Parts go to files as
they arrive, so memory does not grow with them; every instance that the answer lists as stored is durable.
Tolerated: one Part 10 file as the whole body, and parts that do not name their type.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request, Response

from imaging_source.domain import negotiation
from imaging_source.domain.intake import PROCESSING_FAILURE, Claim, Refused
from imaging_source.domain.negotiation import Form, NotAcceptable
from imaging_source.domain.stow import Outcome, Problem, Results, results_module, status_of
from imaging_source.domain.transfer import Sender
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.files import Incoming
from imaging_source.store.instances import InstanceStore
from imaging_source.store.transfers import Transfer
from shared.audit.events import http_push_participants, ihe, purposes
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.dicom import native_xml
from shared.dicom.multipart import APPLICATION_DICOM
from shared.dicom.uids import UID_FORM, is_uid
from shared.faults import NodeRefused, SecurityFault, SenderFault
from shared.http.address import called
from shared.http.media_type import MULTIPART, MediaType, decode_media_type
from shared.http.multipart import Parts
from shared.http.raw_asgi import ClientGone, body_chunks, node_of
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller
from shared.security.rights import REJECTION_NOTE
from shared.store.failures import DatabaseError

_log = logging.getLogger(__name__)

RAD108: Final = ihe("RAD-108", "Store Instances over the Web")

_BATCH_BYTES: Final = 1024**2
_STORING_AT_ONCE: Final = 4
# Orthanc writes 73 characters where RFC 2046 allows 70 (tests/peers/test_orthanc_store.py).
_LONGEST_BOUNDARY: Final = 128
# In the header; the body names those of each instance.
_WARNINGS: Final = 8
_WANTED: Final = f'send multipart/related; type="{APPLICATION_DICOM}", one Part 10 file in each part'
_NO_AUDIT: Final = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "audit events cannot be recorded; try later")


@dataclass(frozen=True, slots=True, kw_only=True)
class StowService:
    """What RAD-108 works with."""

    store: InstanceStore
    authenticator: Authenticator
    recorder: AuditRecorder
    settings: ImagingSourceSettings


def router(service: StowService) -> APIRouter:
    """The routes of RAD-108, below the base of DICOM web services."""
    routes = APIRouter()

    @routes.post("/studies", response_class=Response)
    async def store_instances(request: Request) -> Response:
        return await _answer(service, request, "")

    @routes.post("/studies/{study_instance_uid}", response_class=Response)
    async def store_instances_of_study(request: Request, study_instance_uid: str) -> Response:
        return await _answer(service, request, study_instance_uid)

    return routes


async def _answer(service: StowService, request: Request, study_instance_uid: str) -> Response:
    try:
        caller = await _caller(service, request)
        form = _form(request)
        media_type = _media_type(request, study_instance_uid)
        await _admit(service, request)
    except Problem as problem:
        return _refusal(problem)
    may_reject = service.authenticator.rights.may(caller.node, REJECTION_NOTE)
    transfer = Transfer(sender=_sender(caller), may_reject=may_reject)
    claim = Claim(study_instance_uid=study_instance_uid)
    try:
        results = await _receive(service, request, media_type, transfer, claim)
    finally:
        # Also when the sender has gone: what came of it is kept, and stands in the trail.
        recorded = await asyncio.shield(_conclude(service, transfer))
    if not recorded:
        return _refusal(_NO_AUDIT)
    return _response(results, service.settings.dicomweb_url, study_instance_uid, form)


def _sender(caller: Caller) -> Sender:
    return Sender(
        transaction=RAD108,
        participants=http_push_participants(caller, server=True),
        purposes=purposes(caller.user),
    )


async def _conclude(service: StowService, transfer: Transfer) -> bool:
    try:
        await service.store.conclude(transfer, service.recorder.record)
    except (AuditUnavailable, DatabaseError):
        _log.exception("the events of a transfer wait in the index")
        return False
    return True


# --- what is asked -----------------------------------------------------------------------------------


async def _caller(service: StowService, request: Request) -> Caller:
    node = node_of(request.scope)
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    try:
        return await service.authenticator.caller(
            node,
            door="RAD-108",
            endpoint=called(request.scope, service.settings.public_url),
            bearer=bearer.strip() if scheme.lower() == "bearer" else None,
            speaker_is_user=False,
        )
    except NodeRefused as fault:
        with suppress(AuditUnavailable):  # refused either way
            await service.recorder.refusals.node(node.address, fault.detail)
        raise Problem(HTTPStatus.FORBIDDEN, fault.reason) from None
    except SecurityFault as fault:
        with suppress(AuditUnavailable):  # refused either way
            await service.recorder.refusals.user(fault, node, transaction="RAD-108")
        raise Problem(HTTPStatus.UNAUTHORIZED, fault.reason) from None


def _form(request: Request) -> Form:
    """How the answer is wanted, else a `Problem`."""
    try:
        return negotiation.stored(request.headers.get("accept"))
    except NotAcceptable as error:
        raise Problem(HTTPStatus.NOT_ACCEPTABLE, str(error)) from None


def _media_type(request: Request, study_instance_uid: str) -> MediaType:
    """The Content-Type of a request that can be served, else a `Problem`."""
    if study_instance_uid and not is_uid(study_instance_uid):
        raise Problem(HTTPStatus.BAD_REQUEST, f"the study in the path is not a UID: {UID_FORM}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body without Content-Encoding")
    try:
        media_type = decode_media_type(request.headers.get("content-type", ""))
    except SenderFault:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _WANTED) from None
    part_type = media_type.parameter("type").partition(";")[0].strip().lower()
    parts_of_dicom = media_type.name == MULTIPART and part_type in ("", APPLICATION_DICOM)
    if not parts_of_dicom and media_type.name != APPLICATION_DICOM:
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, _WANTED)
    return media_type


async def _admit(service: StowService, request: Request) -> None:
    """Refuse work that could not be recorded or kept."""
    try:
        await service.recorder.check()
        length = request.headers.get("content-length", "0")
        service.store.files.admit(int(length) if length.isdecimal() else 0)
    except AuditUnavailable:
        raise _NO_AUDIT from None
    except Refused as refused:
        raise Problem(HTTPStatus.INSUFFICIENT_STORAGE, refused.reason) from None


# --- receiving ---------------------------------------------------------------------------------------


async def _receive(
    service: StowService, request: Request, media_type: MediaType, transfer: Transfer, claim: Claim
) -> Results:
    """Store the parts as they come; while one is being stored the next ones arrive."""
    tasks: list[asyncio.Task[Outcome]] = []
    problem: Problem | None = None
    try:
        async with aclosing(_incoming(service, request, media_type)) as parts:
            async for part in parts:
                tasks.append(asyncio.create_task(_store(service, part, transfer, claim)))
                if len(tasks) >= _STORING_AT_ONCE:
                    await asyncio.wait(tasks[-_STORING_AT_ONCE : 1 - _STORING_AT_ONCE])
    except Problem as found:
        problem = found
    except SenderFault as fault:
        problem = Problem(HTTPStatus.BAD_REQUEST, fault.reason)
    except ClientGone:
        problem = Problem(HTTPStatus.BAD_REQUEST, "the connection ended before the message did")
    finally:
        outcomes = await asyncio.gather(*tasks)
    return Results(tuple(outcomes), problem)


async def _incoming(
    service: StowService, request: Request, media_type: MediaType
) -> AsyncGenerator[Incoming | Refused]:
    """The parts of the request, each in a file aside, or why it is not."""
    most = service.settings.max_instances_per_request
    async with aclosing(body_chunks(request.receive)) as chunks:
        if media_type.name == APPLICATION_DICOM:
            yield await _spooled(service, chunks)
            return
        count = 0
        boundary = media_type.parameter("boundary")
        async for part in Parts(chunks, boundary, max_parts=most + 1, max_boundary=_LONGEST_BOUNDARY):
            count += 1
            if count > most:
                reason = f"more than {most} instances in one request; send the rest in another"
                raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, reason)
            part_type = part.headers.get("content-type", APPLICATION_DICOM)
            if part_type.partition(";")[0].strip().lower() == APPLICATION_DICOM:
                yield await _spooled(service, part.chunks())
            else:
                yield Refused(PROCESSING_FAILURE, f"the Content-Type of a part is not {APPLICATION_DICOM}")


async def _spooled(service: StowService, chunks: AsyncIterator[bytes]) -> Incoming | Refused:
    try:
        incoming = service.store.files.new(max_bytes=service.settings.max_instance_bytes)
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


async def _store(service: StowService, part: Incoming | Refused, transfer: Transfer, claim: Claim) -> Outcome:
    if isinstance(part, Refused):
        await service.store.refuse(part, transfer)
        return part
    try:
        spooled = await asyncio.to_thread(part.finish)
        return await service.store.store_part10(spooled, transfer, claim)
    except Refused as refused:
        part.discard()
        return refused


# --- answering ---------------------------------------------------------------------------------------


def _response(results: Results, base: str, study_instance_uid: str, form: Form) -> Response:
    status = status_of(results)
    if not results.outcomes:
        return _refusal(results.problem or Problem(HTTPStatus.BAD_REQUEST, f"no part; {_WANTED}"))
    module = results_module(results, base, study_instance_uid)
    if form is Form.XML:
        return Response(
            native_xml.encode(module), status, headers=_warning(results), media_type=negotiation.DICOM_XML
        )
    body = json.dumps(module, separators=(",", ":"))
    return Response(body, status, headers=_warning(results), media_type=negotiation.DICOM_JSON)


def _warning(results: Results) -> dict[str, str]:
    """Why the message was not read to its end, and what was tolerated of what is stored (RFC 7234 5.5)."""
    reasons = [results.problem.reason] if results.problem else []
    reasons += results.warnings[:_WARNINGS]
    if not reasons:
        return {}
    told = "; ".join(reasons).replace('"', "'")
    return {"warning": f'299 xdsi "{told}"'}


def _refusal(problem: Problem) -> Response:
    headers = {}
    if problem.status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if problem.status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "30"
    return Response(f"{problem.reason}\n", problem.status, headers=headers, media_type="text/plain")
