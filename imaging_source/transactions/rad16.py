"""Retrieve Images [RAD-16] by C-MOVE and C-GET: expected actions (RAD TF-2 4.16; PS3.4 C.4.2, C.4.3).

What is rejected, set aside or refused by consent is as if it were not there: it is in no count. The
sub-operations are `imaging_source.dimse.retrieve`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from imaging_source.domain.exchange import Exchange
from imaging_source.domain.retrieve_identifier import Level, RetrieveKeys
from imaging_source.settings.entities import DimseService
from imaging_source.transactions import archived
from imaging_source.transactions.served import ServedDimse
from imaging_source.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome, ihe
from shared.imaging.instance import Instance
from shared.imaging.retrieval import InstanceResult
from shared.security.caller import Caller

EVENT_TYPE: Final = ihe("RAD-16", "Retrieve Images")
_NOTHING: Final = "there is no such patient, study, series or instance here"

# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesRequest:
    """Whose instances are asked for by whom; `keys` are None where the identifier is none of its SOP class,
    or its destination none of the caller, which `refusal` says."""

    exchange: Exchange
    keys: RetrieveKeys | None
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesResponse:
    """The instances that are to be sent, with the CX of their patients by SOP Instance UID; and for the trail
    what was refused."""

    instances: tuple[Instance, ...] = ()
    patient_ids: Mapping[str, str]
    denied: tuple[InstanceResult, ...] = ()


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: ImagesRequest) -> ImagesResponse:
    """Find what is asked for, and leave out what is hidden from everybody, or from the caller.

    Raises
    ------
    ArchiveSilent
        An archive does not give all that it lists of a study.
    """
    if request.keys is None:
        return ImagesResponse(patient_ids={})
    for study in request.keys.study_instance_uids:
        await archived.compare(unit, study)
    instances = await unit.parts.instances.find_retrieved(request.keys)
    hidden = await unit.hidden(instances)
    shown = [one for one in instances if one.sop_instance_uid not in hidden]
    access = await unit.access(shown)
    return ImagesResponse(
        instances=tuple(one for one in shown if access[one.sop_instance_uid].decision.permitted),
        patient_ids={uid: one.patient_id for uid, one in access.items()},
        denied=tuple(
            result_of(one, access[one.sop_instance_uid].patient_id, f"{REFUSED_BY_CONSENT}{decision.reason}")
            for one in shown
            if not (decision := access[one.sop_instance_uid].decision).permitted
        ),
    )


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: ImagesRequest, response: ImagesResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the beginning of a transfer, an event for each patient; what is refused, and what is not
    there, is told as a transfer that failed."""
    if response is None or request.refusal:
        reason = request.refusal or "the request was not answered"
        return _events(request.exchange, (_of_request(request, reason),), Outcome.SERIOUS_FAILURE)
    instances, denied = response.instances, response.denied
    if not instances and not denied:
        return _events(request.exchange, (_of_request(request, _NOTHING),), Outcome.MINOR_FAILURE)
    begun = (result_of(one, response.patient_ids[one.sop_instance_uid]) for one in instances)
    return (
        *_events(request.exchange, begun, begin=True),
        *_events(request.exchange, denied, Outcome.SERIOUS_FAILURE),
    )


def transferred(exchange: Exchange, results: Iterable[InstanceResult]) -> tuple[AuditEvent, ...]:
    """Describe what became of the instances of a transfer: an event for each patient and outcome."""
    return _events(exchange, results, Outcome.SERIOUS_FAILURE)


def _events(
    exchange: Exchange,
    results: Iterable[InstanceResult],
    failure: Outcome = Outcome.SUCCESS,
    *,
    begin: bool = False,
) -> tuple[AuditEvent, ...]:
    def key(result: InstanceResult) -> tuple[str, str]:
        return result.failure, result.patient_id

    return tuple(
        patterns.instances_sent(
            EVENT_TYPE,
            exchange.participants(pull=True),
            failure if reason else Outcome.SUCCESS,
            list(of_patient),
            begin=begin,
            patient_id=patient_id,
            description=reason,
        )
        for (reason, patient_id), of_patient in groupby(sorted(results, key=key), key=key)
    )


def result_of(one: Instance, patient_id: str, failure: str = "") -> InstanceResult:
    """What became of one instance, for the trail."""
    return InstanceResult(
        study_instance_uid=one.study_instance_uid,
        series_instance_uid=one.series_instance_uid,
        sop_instance_uid=one.sop_instance_uid,
        sop_class_uid=one.sop_class_uid,
        patient_id=patient_id,
        failure=failure,
    )


def _of_request(request: ImagesRequest, failure: str) -> InstanceResult:
    keys = request.keys or RetrieveKeys(level=Level.STUDY)
    return InstanceResult(
        study_instance_uid=_first(keys.study_instance_uids),
        series_instance_uid=_first(keys.series_instance_uids),
        sop_instance_uid=_first(keys.sop_instance_uids),
        failure=failure,
    )


def _first(uids: Sequence[str]) -> str:
    return uids[0] if uids else ""


SERVED: Final = ServedDimse(
    event_type=EVENT_TYPE, services=(DimseService.MOVE, DimseService.GET), handle=handle, audit=audit
)
