"""The consumer for programs: JSON below `/api`, for the user whose assertion or token comes along.

`Authorization: SAML <base64 of the assertion>`, or `Bearer` and a token (ITI-72). Ids of patients stand in
bodies alone; an instance is named by a handle that a manifest was answered with. Errors are problem details
(RFC 9457).
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from consumer.domain.studies import Criteria, FoundStudy, WrongCriterion
from consumer.pages.delivery import decode_handle, encode_instance
from consumer.pages.invocation import Invocation
from consumer.pages.saml import Saml
from consumer.pages.tickets import TICKET_SECONDS
from consumer.pages.workplace import MOST_STUDIES, FetchedInstance, OpenedSeries, OpenedStudy, Workplace
from shared.http.problem import BadRequest
from shared.pages.visitors import Visitor
from shared.perform import UnitOfWork
from shared.rest.message import JsonBody, json_created, json_response
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.security.speaker import Speaker

PREFIX: Final = "/api"


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudiesRequest(_Body):
    """Whose studies, and which; dates as YYYY[-MM[-DD]]."""

    patient_id: str = Field(min_length=1, max_length=256)
    modalities: tuple[str, ...] = Field((), max_length=20)
    since: str = Field("", max_length=20)
    before: str = Field("", max_length=20)
    limit: int = Field(200, ge=1, le=MOST_STUDIES)

    def criteria(self, affinity_domain: str) -> Criteria:
        """As the registry is asked."""
        return Criteria.of(
            self.patient_id,
            affinity_domain=affinity_domain,
            modalities=self.modalities,
            since=self.since,
            before=self.before,
        )


class ManifestRequest(_Body):
    """One manifest, as a study names it."""

    document_unique_id: str = Field(min_length=1, max_length=256)
    repository_unique_id: str = Field(min_length=1, max_length=64)
    home_community_id: str = Field("", max_length=80)


class LaunchRequest(_Body):
    """Whose timeline is to be opened in a browser, or which of the patient's studies."""

    patient_id: str = Field(min_length=1, max_length=256)
    study_instance_uid: str = Field("", max_length=64)


# --- what is done ---------------------------------------------------------------------------------------


async def studies(unit: UnitOfWork[Workplace], request: StudiesRequest) -> bytes:
    """Find the published studies of a patient (ITI-18)."""
    criteria = request.criteria(unit.parts.affinity_domain)
    result = await unit.parts.find(Visitor.of(unit.caller), criteria, limit=request.limit)
    shown = [_study(study) for study, _ in result.studies]
    return await _json({"studies": shown, "complete": result.complete, "unanswered": result.unanswered})


async def manifest(unit: UnitOfWork[Workplace], request: ManifestRequest) -> bytes:
    """Open a manifest (ITI-18, ITI-43), with a link to each of its instances."""
    opened = await unit.parts.open(
        Visitor.of(unit.caller),
        request.document_unique_id,
        request.repository_unique_id,
        request.home_community_id,
    )
    return await _json(_manifest(opened))


async def instance(unit: UnitOfWork[Workplace], handle: str) -> FetchedInstance:
    """Fetch an instance (RAD-69, else RAD-107)."""
    return await unit.parts.fetch(Visitor.of(unit.caller), handle)


async def launch(unit: UnitOfWork[Workplace], request: LaunchRequest) -> dict[str, Any]:
    """Give a ticket by which the user's browser is signed in, once, and led to a study or a patient."""
    visitor = Visitor.of(unit.caller)
    if visitor.user is None or visitor.assertion is None:
        raise BadRequest("a launch is for a user; send the user's own assertion")
    invocation = Invocation(patient_id=request.patient_id, study_instance_uid=request.study_instance_uid)
    invocation.criteria(unit.parts.affinity_domain)
    user = visitor.user
    ticket = unit.parts.tickets.issue(
        user.subject_id or user.alias or user.name_id, visitor.assertion, invocation.fields
    )
    return {"url": f"{unit.parts.base_url}/launches/{ticket}", "seconds": int(TICKET_SECONDS)}


SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Find studies",
        routes=(f"POST {PREFIX}/studies",),
        right=Right.ASK,
        speaker=Speaker.USER,
        scheme=Saml,
        decode=JsonBody(StudiesRequest),
        handle=studies,
        encode=json_response,
        problems={WrongCriterion: BadRequest},
    ),
    ServedRest(
        name="Open manifest",
        routes=(f"POST {PREFIX}/manifests",),
        right=Right.ASK,
        speaker=Speaker.USER,
        scheme=Saml,
        decode=JsonBody(ManifestRequest),
        handle=manifest,
        encode=json_response,
    ),
    ServedRest(
        name="Launch ticket",
        routes=(f"POST {PREFIX}/launches",),
        right=Right.ASK,
        speaker=Speaker.USER,
        scheme=Saml,
        decode=JsonBody(LaunchRequest),
        handle=launch,
        encode=json_created,
    ),
    ServedRest(
        name="Fetch instance",
        routes=(f"GET {PREFIX}/instances/{{handle}}",),
        right=Right.ASK,
        speaker=Speaker.USER,
        scheme=Saml,
        decode=decode_handle,
        handle=instance,
        encode=encode_instance,
    ),
)


async def _json(content: Any) -> bytes:
    """Large manifests are long to write: not on the loop."""
    return await asyncio.to_thread(lambda: json.dumps(content, ensure_ascii=False).encode())


def _study(study: FoundStudy) -> dict[str, Any]:
    shown = asdict(study)
    return {"document_unique_id": shown.pop("manifest_id"), **shown}


def _manifest(opened: OpenedStudy) -> dict[str, Any]:
    manifest = opened.manifest
    return {
        "study": _study(opened.study),
        "title": manifest.title,
        "patient_id": manifest.patient_id,
        "patient_name": manifest.patient_name,
        "accession_number": manifest.accession_number,
        "study_description": manifest.study_description,
        "faults": manifest.faults,
        "series": list(map(_series, opened.series)),
    }


def _series(series: OpenedSeries) -> dict[str, Any]:
    return {
        "study_instance_uid": series.study_instance_uid,
        "series_instance_uid": series.series_instance_uid,
        "modality": series.modality,
        "number": series.number,
        "description": series.description,
        "instances": [
            {
                "sop_instance_uid": one.sop_instance_uid,
                "sop_class_uid": one.sop_class_uid,
                "href": f"{PREFIX}/instances/{one.handle}",
            }
            for one in series.instances
        ],
    }
