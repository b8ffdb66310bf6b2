"""Publishing and its outcome, for tools of this community: `POST /api/publish` and what is below
`/api/publications`; and manifests on demand, for the repository."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from imaging_source.domain.coding import NotPublishable
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store import outbox
from imaging_source.store.drift import DriftReport, find_open, find_reports
from imaging_source.store.publications import (
    PublicationState,
    PublicationStatus,
    find_last_publications,
    find_publication,
    find_publications,
)
from imaging_source.store.set_aside import SetAside, find_set_aside
from imaging_source.transactions import archived, on_demand, rad68, reconciliation, unpublished
from imaging_source.transactions.explanation import explanation
from imaging_source.unit import Parts, Unit
from shared.dicom.uids import MAX_UID, UID_PATTERN
from shared.http.problem import Conflict, HttpProblem, NotFound, Unavailable
from shared.messages.on_demand import ManifestRequest
from shared.rest.message import JsonBody, json_accepted, json_response
from shared.rest.served import ServedRest
from shared.security.rights import Right


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishRequest(_Body):
    """Publish a study; `patient_id` is the CX of the affinity domain, when it is not the study's own id."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)


class PublicationsRequest(_Body):
    """Publications by id, of one study, or in some states; the newest first.

    With `last` the last one of each study alone; with `learn` the registry is asked before what became of
    those that it had; with `for_persons` the last one of those studies alone whose manifest drifted, and a
    person has to decide.
    """

    last: bool = False
    learn: bool = False
    for_persons: bool = False
    publication_id: str = Field("", max_length=64)
    study_instance_uid: str = Field("", pattern=r"^$|" + UID_PATTERN, max_length=MAX_UID)
    states: tuple[PublicationState, ...] = tuple(PublicationState)
    limit: int = Field(100, ge=1, le=1000)


class RetryRequest(_Body):
    """Try a publication again that waits or was given up; publish anew what was refused or withdrawn."""

    publication_id: str = Field(max_length=64)


class WithdrawRequest(_Body):
    """Withdraw every manifest of a study from the registry."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)


class AcceptRequest(_Body):
    """Decide for an instance that is set aside: a note counts, or its study is its patient's."""

    sop_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)


class MakeRequest(_Body):
    """Make the manifest of a study now; see `shared.messages.on_demand.ManifestRequest`."""

    study_instance_uid: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    patient_id: str = Field("", max_length=256)
    document_unique_id: str = Field(pattern=UID_PATTERN, max_length=MAX_UID)
    on_demand: bool


# --- the six ------------------------------------------------------------------------------------------


async def publish(unit: Unit, request: PublishRequest) -> dict[str, Any]:
    """Put the manifest of a study into the outbox; that it is sent is RAD-68, and recorded as such."""
    parts = unit.parts
    enqueued = await rad68.publish(parts, request.study_instance_uid, request.patient_id)
    unit.wake()
    publication = await find_publication(parts.database, enqueued.publication_id)
    assert publication is not None
    return {
        **shown(publication),
        "unchanged": enqueued.unchanged,
        "warnings": await rad68.warnings(parts, request.study_instance_uid),
    }


async def make(unit: Unit, request: MakeRequest) -> bytes:
    """Make the manifest of a study, which is recorded before it is given away."""
    made = await on_demand.make(unit.parts, ManifestRequest(**request.model_dump()), unit.caller)
    return await asyncio.to_thread(made.encode)


async def publications(unit: Unit, request: PublicationsRequest) -> dict[str, Any]:
    """What became of publications, what is set aside, and what a study without any waits for."""
    parts = unit.parts
    listed = await _reported(parts, await _publications(parts, request))
    aside = await find_set_aside(parts.database, limit=request.limit)
    study = request.study_instance_uid
    why = await unpublished.reason(parts, study) if study and not listed else ""
    return {"publications": listed, "set_aside": [*map(_shown_aside, aside)], "unpublished": why}


async def retry(unit: Unit, request: RetryRequest) -> dict[str, str]:
    """Send again, or publish anew."""
    publication_id = await _retried(unit.parts, request.publication_id)
    unit.wake()
    return {"publication_id": publication_id}


async def withdraw(unit: Unit, request: WithdrawRequest) -> dict[str, int]:
    """Withdraw, and count what was registered."""
    return {"withdrawn": await rad68.withdraw(unit.parts, request.study_instance_uid)}


async def accept(unit: Unit, request: AcceptRequest) -> dict[str, str]:
    """Take what is set aside."""
    if not (study := await unit.parts.instances.accept(request.sop_instance_uid)):
        raise NotFound("no instance of this UID is set aside")
    return {"study_instance_uid": study}


# --- what they are made of ----------------------------------------------------------------------------


async def _retried(parts: Parts, publication_id: str) -> str:
    if await outbox.rearm(parts.database, publication_id):
        return publication_id
    publication = await find_publication(parts.database, publication_id)
    if publication is None or publication.state not in (PublicationState.REFUSED, PublicationState.WITHDRAWN):
        raise NotFound("there is no publication of this id that waits, was given up, refused or withdrawn")
    enqueued = await rad68.publish(parts, publication.study_instance_uid, publication.patient_id)
    return enqueued.publication_id


async def _publications(parts: Parts, request: PublicationsRequest) -> list[PublicationStatus]:
    if request.learn:
        await _learn(parts, request.limit)
    if request.for_persons:
        studies = await find_open(parts.database, limit=request.limit)
        return [
            one
            for study in studies
            for one in await find_publications(parts.database, study_instance_uid=study, limit=1)
        ]
    if request.last:
        return await find_last_publications(parts.database, states=request.states, limit=request.limit)
    if request.publication_id:
        publication = await find_publication(parts.database, request.publication_id)
        return [publication] if publication else []
    return await find_publications(
        parts.database,
        study_instance_uid=request.study_instance_uid,
        states=request.states,
        limit=request.limit,
    )


async def _learn(parts: Parts, limit: int) -> None:
    published = await find_last_publications(
        parts.database, states=(PublicationState.PUBLISHED,), limit=limit
    )
    for each in published:
        await reconciliation.learn(parts, each.study_instance_uid)


async def _reported(parts: Parts, statuses: list[PublicationStatus]) -> list[dict[str, Any]]:
    """As `shown`, with what the drift watch found of each study last."""
    reports = await find_reports(parts.database, sorted({one.study_instance_uid for one in statuses}))
    return [shown(one) | {"drift": _shown_drift(reports.get(one.study_instance_uid))} for one in statuses]


def _shown_drift(report: DriftReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    return {
        "kinds": [str(kind) for kind in report.kinds],
        "explanation": "; ".join(kind.explanation for kind in report.kinds),
        "noticed_at": report.noticed_at.isoformat(timespec="milliseconds"),
        "needs_person": report.needs_person,
    }


def shown(publication: PublicationStatus) -> dict[str, Any]:
    """A publication as JSON shows it; times in ISO 8601, UTC."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(publication)))
    for name in ("due", "created", "changed"):
        values[name] = datetime.fromtimestamp(values[name] / 1000, UTC).isoformat(timespec="milliseconds")
    return values | {"explanation": explanation(publication)}


def _shown_aside(aside: SetAside) -> dict[str, str]:
    return {
        "study_instance_uid": aside.study_instance_uid,
        "sop_instance_uid": aside.sop_instance_uid,
        "conflict": str(aside.conflict),
        "explanation": aside.conflict.reason,
    }


def _away(reason: str) -> Unavailable:
    return Unavailable(f"{reason}; try again later")


#: Why something about a publication cannot be done.
PUBLISHING: Mapping[type[Exception], Callable[[str], HttpProblem]] = {
    rad68.UnknownStudy: NotFound,
    NotPublishable: Conflict,
    rad68.NotWithdrawn: Conflict,
    RegistryAway: _away,
    **archived.PROBLEMS,
}

SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        name="Publish",
        routes=("POST /api/publish",),
        right=Right.PUBLISH,
        decode=JsonBody(PublishRequest),
        handle=publish,
        encode=json_accepted,
        problems=PUBLISHING,
    ),
    ServedRest(
        name="Manifest on demand",
        routes=("POST /api/manifest",),
        right=Right.PUBLISH,
        decode=JsonBody(MakeRequest),
        handle=make,
        event=on_demand.MANIFEST_ON_DEMAND,
        encode=json_response,
        problems=PUBLISHING,
    ),
    ServedRest(
        name="Publications",
        routes=("POST /api/publications",),
        right=Right.PUBLISH,
        decode=JsonBody(PublicationsRequest),
        handle=publications,
        encode=json_response,
        problems=PUBLISHING,
    ),
    ServedRest(
        name="Retry publication",
        routes=("POST /api/publications/retry",),
        right=Right.PUBLISH,
        decode=JsonBody(RetryRequest),
        handle=retry,
        encode=json_accepted,
        problems=PUBLISHING,
    ),
    ServedRest(
        name="Withdraw publication",
        routes=("POST /api/publications/withdraw",),
        right=Right.PUBLISH,
        decode=JsonBody(WithdrawRequest),
        handle=withdraw,
        encode=json_response,
        problems=PUBLISHING,
    ),
    ServedRest(
        name="Accept what is set aside",
        routes=("POST /api/publications/accept",),
        right=Right.PUBLISH,
        decode=JsonBody(AcceptRequest),
        handle=accept,
        encode=json_response,
    ),
)
