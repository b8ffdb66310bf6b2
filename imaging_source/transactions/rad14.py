"""Query Images [RAD-14] by C-FIND: expected actions (RAD TF-2 4.14; PS3.4 C.4.1).

What is rejected, set aside or refused by consent is left out, and counts nowhere (`search`). All matches are
found, and the event is durable, before the first of them leaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from imaging_source.domain.exchange import Exchange
from imaging_source.domain.find_identifier import PATIENT_COUNTS, FindKeys
from imaging_source.domain.identifier import encode_identifier
from imaging_source.domain.retrieve_identifier import Level
from imaging_source.settings.entities import DimseService
from imaging_source.transactions.search import CatalogueIncomplete, QueryTooWide, Search, matches
from imaging_source.transactions.served import ServedDimse
from imaging_source.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome, ihe
from shared.dicom.json import texts
from shared.dicom.uids import IMPLICIT_LE
from shared.security.caller import Caller

EVENT_TYPE: Final = ihe("RAD-14", "Query Images")
_PATIENT_ID: Final = 0x00100020
_ISSUER: Final = 0x00100021
_STUDY_SERIES: Final = 0x00201206
_STUDY_INSTANCES: Final = 0x00201208

# --- messages ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRequest:
    """A query and who asks it; `keys` are None where the identifier is none of its SOP class, as `refusal`
    says. `cancelled` tells that nobody waits for its matches any more."""

    exchange: Exchange
    sop_class_uid: str
    transfer_syntax_uid: str
    identifier: bytes
    keys: FindKeys | None
    refusal: str = ""
    cancelled: Callable[[], bool] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindResponse:
    """The matches, each as the data set that is sent; `limited` where there are more than are told, and
    `refusal` where none are, because too much would have to be looked at."""

    matches: tuple[bytes, ...] = ()
    search: Search | None = None
    limited: bool = False
    refusal: str = ""


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: FindRequest) -> FindResponse:
    """Find the matches that the caller may know of."""
    keys = request.keys
    if keys is None:
        return FindResponse(refusal=request.refusal)
    settings = unit.parts.settings
    search = Search(keys.query)
    encoded: list[bytes] = []
    limited = False
    try:
        async for attributes in _matches(unit, search, keys):
            limited = len(encoded) == settings.max_matches
            if limited or request.cancelled():
                break
            encoded.append(
                encode_identifier(
                    keys.told(attributes, settings.ae_title),
                    implicit=request.transfer_syntax_uid == IMPLICIT_LE,
                    character_sets=keys.character_sets,
                )
            )
    except (CatalogueIncomplete, QueryTooWide) as error:
        return FindResponse(search=search, refusal=str(error))
    return FindResponse(matches=tuple(encoded), search=search, limited=limited)


def _matches(unit: Unit, search: Search, keys: FindKeys) -> AsyncIterator[dict[str, Any]]:
    return _patients(unit, search) if keys.level is Level.PATIENT else matches(unit, search)


async def _patients(unit: Unit, search: Search) -> AsyncIterator[dict[str, Any]]:
    """Each patient once, as the first of the studies says, with the numbers of what is visible."""
    patients: dict[tuple[str, str], dict[str, Any]] = {}
    numbers: dict[tuple[str, str], list[int]] = {}
    async for study in matches(unit, search):
        patient = _first(study, _PATIENT_ID), _first(study, _ISSUER)
        patients.setdefault(patient, study)
        before = numbers.setdefault(patient, [0, 0, 0])
        related = (1, *(int(_first(study, tag) or 0) for tag in (_STUDY_SERIES, _STUDY_INSTANCES)))
        numbers[patient] = [one + more for one, more in zip(before, related, strict=True)]
    for patient, attributes in patients.items():
        counts = zip(PATIENT_COUNTS, numbers[patient], strict=True)
        yield attributes | {f"{tag:08X}": {"vr": "IS", "Value": [number]} for tag, number in counts}


def _first(attributes: dict[str, Any], tag: int) -> str:
    return next(iter(texts(attributes, tag)), "")


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: FindRequest, response: FindResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query: with its patient when all that is told is of one, and one event for each patient of
    whom consent kept something back, which the answer does not show."""
    search = response.search if response else None
    patients = search.patients if search else set()
    refusal = response.refusal if response else "the request was not answered"

    def event(patient_id: str, outcome: Outcome, description: str) -> AuditEvent:
        return patterns.query_by_dimse(
            EVENT_TYPE,
            request.exchange.participants(),
            outcome,
            sop_class_uid=request.sop_class_uid,
            identifier=request.identifier,
            transfer_syntax_uid=request.transfer_syntax_uid,
            patient_id=patient_id,
            description=description,
        )

    if refusal:
        return (event("", Outcome.SERIOUS_FAILURE, refusal),)
    withheld = search.withheld if search else {}
    denied = [
        event(patient_id, Outcome.SERIOUS_FAILURE, f"{REFUSED_BY_CONSENT}{reason}")
        for patient_id, reason in withheld.items()
    ]
    if denied and not patients:
        return tuple(denied)
    return (event(next(iter(patients)) if len(patients) == 1 else "", outcome, ""), *denied)


SERVED: Final = ServedDimse(event_type=EVENT_TYPE, services=(DimseService.FIND,), handle=handle, audit=audit)
