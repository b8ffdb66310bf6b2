"""What became of documents, told to the nodes that publish them: `POST /registrations` (see
`shared.messages.registrations`)."""

from __future__ import annotations

from registry.domain import patients as identities
from registry.domain.patients import Patient
from registry.store import patients
from registry.store.registrations import find_registrations
from registry.unit import Unit
from shared.http.problem import BadRequest
from shared.messages.registrations import (
    PATH,
    Registrations,
    RegistrationsRequest,
    UnreadableRegistrations,
)
from shared.rest.message import HttpRequest, HttpResponse, json_response
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.settings import PatientPolicy
from shared.store.engine import Transaction


async def decode(request: HttpRequest) -> RegistrationsRequest:
    """Read what is asked about."""
    return RegistrationsRequest.decode(await request.json_octets())


async def handle(unit: Unit, request: RegistrationsRequest) -> Registrations:
    """Find what is registered of the documents, and of the patient, on one snapshot."""
    settings = unit.parts.settings
    patient_id = identities.canonical(request.patient_id, settings.affinity_domain)
    if patient_id is None:
        raise BadRequest(f"patient_id is no id of the affinity domain: id^^^&{settings.affinity_domain}&ISO")

    async def work(transaction: Transaction) -> Registrations:
        patient = await patients.find_patient(transaction, patient_id)
        return Registrations(
            survivor=(patient or Patient(patient_id, patient_id)).survivor,
            known=patient is not None or settings.patients is PatientPolicy.ANY,
            documents=await find_registrations(transaction, request.unique_ids),
        )

    return await unit.read(work)


def encode(registrations: Registrations) -> HttpResponse:
    """Write what was found."""
    return json_response(registrations.encode())


SERVED = ServedRest(
    name="Registrations",
    routes=(f"POST {PATH}",),
    right=Right.PUBLISH,
    decode=decode,
    handle=handle,
    encode=encode,
    problems={UnreadableRegistrations: BadRequest},
)
