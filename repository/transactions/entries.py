"""Entries of documents that are made when they are asked for: `POST /api/entries`, for tools of this
community."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from repository.domain.assembly import AssemblyKind
from repository.peers.provider import CannotMake, ProviderUnavailable
from repository.transactions import iti61
from repository.unit import Unit
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.errors import Actor, Severity
from shared.http.problem import Conflict, NotFound, Unavailable
from shared.messages.registry import RegistryResponse, Status
from shared.rest.message import JsonBody, json_created
from shared.rest.served import ServedRest
from shared.security.rights import Right

MAX_BODY = 16 * 1024


class EntryRequest(BaseModel):
    """Register an entry of a study whose manifest is made when it is asked for: each time, or once
    (`delayed`); `patient_id` is the CX of the affinity domain, when it is not the study's own id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)
    kind: AssemblyKind = AssemblyKind.ON_DEMAND


async def handle(unit: Unit, request: EntryRequest) -> dict[str, str]:
    """Register the entry by ITI-61 or ITI-42, which records it."""
    entered = await iti61.enter(unit, request.study_instance_uid, request.patient_id, request.kind)
    if entered.response.status is Status.SUCCESS:
        return {"document_unique_id": entered.unique_id, "kind": request.kind}
    raise (Conflict if entered.final else Unavailable)(_errors(entered.response))


def _errors(response: RegistryResponse) -> str:
    return "; ".join(
        f"{error.code_for(Actor.REPOSITORY)}: {error.context}"
        for error in response.errors
        if error.severity is Severity.ERROR
    )


SERVED = ServedRest(
    name="Register entry",
    routes=("POST /api/entries",),
    right=Right.PUBLISH,
    decode=JsonBody(EntryRequest, limit=MAX_BODY),
    handle=handle,
    encode=json_created,
    problems={CannotMake: NotFound, ProviderUnavailable: Unavailable},
)
