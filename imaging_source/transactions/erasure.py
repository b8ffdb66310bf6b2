"""Erasure of images with their manifests: `POST /api/erase`, and what retention asks for.

A manifest is withdrawn before what it names is gone, and a study of which something stays is published anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from imaging_source.domain.transfer import cx
from imaging_source.store import imaging_reports
from imaging_source.store.publications import find_published_studies
from imaging_source.transactions import rad68, report_publishing
from imaging_source.transactions.publications import PUBLISHING
from imaging_source.unit import Parts, Unit
from shared.attempts import awaited
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.http.problem import NotFound
from shared.imaging.instance import Instance
from shared.rest.message import JsonBody, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.telemetry.log import logger

_log = logger(__name__)

ERASURE: Final = Coded("images-erased", "xdsi", "Images Erased")


class EraseRequest(BaseModel):
    """Erase a study, or of it the instances that are named alone; `reason` stands in the trail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    sop_instance_uids: tuple[str, ...] = Field((), max_length=10_000)
    reason: str = Field(min_length=1, max_length=512)


async def handle(unit: Unit, request: EraseRequest) -> dict[str, int]:
    """Erase, and count the instances that are gone."""
    number = await erase(
        unit.parts, request.study_instance_uid, request.sop_instance_uids, request.reason, unit.caller
    )
    unit.wake()
    return {"erased": number}


async def erase(
    parts: Parts, study_instance_uid: str, sop_instance_uids: Sequence[str], reason: str, caller: Caller
) -> int:
    """Withdraw the manifests of a study and erase it with its reports, or of it the instances that are named;
    count them.

    Raises
    ------
    NotFound
        None of them is here.
    RegistryAway, NotWithdrawn
        The study stays registered, and so everything stays.
    AuditUnavailable
        Nothing was erased, because nothing could be recorded.
    """
    instances = await parts.instances.find_study(study_instance_uid)
    chosen = [one for one in instances if not sop_instance_uids or one.sop_instance_uid in sop_instance_uids]
    if not chosen:
        raise NotFound("no such instance is here")
    published = (await find_published_studies(parts.database, [study_instance_uid])).get(study_instance_uid)
    if len(chosen) == len(instances):
        await rad68.withdraw(parts, study_instance_uid)
        await report_publishing.withdraw_of_study(parts, study_instance_uid)
        await imaging_reports.erase(parts.database, study_instance_uid)
    patient_id = (
        published.patient_id if published else cx(chosen[0].patient_id, chosen[0].issuer_of_patient_id)
    )
    await parts.instances.erase(chosen, (audit(chosen, patient_id, reason, caller),), parts.recorder)
    await parts.transcoder.clear()
    _log.warning("instances were erased", instances=len(chosen))
    if published and len(chosen) < len(instances):
        await _published_anew(parts, study_instance_uid)
    return len(chosen)


async def _published_anew(parts: Parts, study_instance_uid: str) -> None:
    """What does not come about now is noticed by the drift watch."""
    match await awaited(rad68.publish(parts, study_instance_uid)):
        case Exception() as error:
            _log.warning("a study is not published anew yet", error=type(error).__name__)


def audit(instances: Sequence[Instance], patient_id: str, reason: str, caller: Caller) -> AuditEvent:
    """Describe what is erased: DICOM Study Deleted (PS3.15 A.5.3.8)."""
    return patterns.instances_deleted(
        ERASURE,
        caller,
        Outcome.SUCCESS,
        Counter(one.sop_class_uid for one in instances),
        study_instance_uid=instances[0].study_instance_uid,
        patient_id=patient_id,
        description=reason,
    )


SERVED: ServedRest[Any, Any] = ServedRest(
    name="Erase images",
    routes=("POST /api/erase",),
    right=Right.UPDATE,
    decode=JsonBody(EraseRequest),
    handle=handle,
    event=ERASURE,
    encode=json_response,
    problems=PUBLISHING,
)
