"""What became of documents, told to the nodes that publish them: `POST /registrations` (see
`shared.messages.registrations`)."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from registry.domain import patients as identities
from registry.domain.patients import Patient
from registry.store import patients
from registry.store.registrations import find_registrations
from registry.unit import Parts
from shared.audit.recorder import AuditUnavailable
from shared.http.door import Doors
from shared.http.problem import CONTENT_TYPE, BadRequest, HttpProblem, TooLarge, Unavailable
from shared.http.raw_asgi import BodyTooLarge, receive_body
from shared.messages.registrations import (
    PATH,
    Registrations,
    RegistrationsRequest,
    UnreadableRegistrations,
)
from shared.security.authenticator import Authenticator
from shared.settings import PatientPolicy
from shared.store.engine import Transaction
from shared.store.failures import DatabaseError

MAX_BODY = 64 * 1024


def registration_routes(parts: Parts, authenticator: Authenticator) -> APIRouter:
    """The route."""
    router = APIRouter(include_in_schema=False)
    doors = Doors(
        authenticator=authenticator, refusals=parts.recorder.refusals, public_url=parts.settings.public_url
    )

    @router.post(PATH)
    async def registrations(request: Request) -> Response:
        try:
            await doors.admit(request.scope, f"POST {PATH}")
            found = await _found(parts, await _asked(request))
        except AuditUnavailable:
            return _refusal(Unavailable("the audit trail cannot be written now; try again later"))
        except HttpProblem as problem:
            return _refusal(problem)
        return Response(found.encode(), media_type="application/json")

    return router


def _refusal(problem: HttpProblem) -> Response:
    return Response(problem.body(), problem.status, problem.headers, media_type=CONTENT_TYPE)


async def _asked(request: Request) -> RegistrationsRequest:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("send the body as application/json")
    try:
        return RegistrationsRequest.decode(await receive_body(request.receive, limit=MAX_BODY))
    except BodyTooLarge as error:
        raise TooLarge(str(error)) from None
    except UnreadableRegistrations as error:
        raise BadRequest(str(error)) from None


async def _found(parts: Parts, asked: RegistrationsRequest) -> Registrations:
    settings = parts.settings
    patient_id = identities.canonical(asked.patient_id, settings.affinity_domain)
    if patient_id is None:
        raise BadRequest(f"patient_id is no id of the affinity domain: id^^^&{settings.affinity_domain}&ISO")

    async def work(transaction: Transaction) -> Registrations:
        known = await patients.find_patient(transaction, patient_id)
        return Registrations(
            survivor=(known or Patient(patient_id, patient_id)).survivor,
            known=known is not None or settings.patients is PatientPolicy.ANY,
            documents=await find_registrations(transaction, asked.unique_ids),
        )

    try:
        return await parts.database.read(work)
    except DatabaseError:
        raise Unavailable("the registry's database is not available now; try again later") from None
