"""Search for DICOM Objects [RAD-129]: QIDO-RS, the answering side (PS3.18 10.6).

Studies, series and instances by their attributes, in the order in which they came: what arrives while pages
are read stands behind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from imaging_source.transactions.search import CatalogueIncomplete, QueryTooWide, Search, matches
from imaging_source.unit import Unit
from shared.audit import patterns
from shared.audit.events import REFUSED_BY_CONSENT, AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.http.problem import BadRequest, NotAcceptable, TooLarge, Unavailable
from shared.imaging import negotiation
from shared.imaging.qido_rs import ROUTES, SearchRequest, SearchResponse, decode, encode, encoded
from shared.imaging.query.matching import WrongKey
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMatches(SearchResponse):
    """The matches, and what the trail has to know beside."""

    search: Search


# --- expected actions --------------------------------------------------------------------------------


async def handle(unit: Unit, request: SearchRequest) -> RecordedMatches:
    """Answer with the page of those matches that the caller may know of."""
    may_be_fuzzy = unit.parts.settings.fuzzy_names
    search = Search((may_be_fuzzy and request.fuzzy) or request.query)
    warnings = list(request.warnings)
    if request.fuzzy and not may_be_fuzzy:
        warnings.append("fuzzymatching is not supported; names were matched as they are written")
    page: list[dict[str, Any]] = []
    end = request.offset + request.limit
    at = 0
    async for attributes in matches(unit, search, at_once=min(max(end + 1, 50), 500)):
        if at >= end:
            warnings.append(f"there are more matches; go on with offset={end}")
            break
        if at >= request.offset:
            page.append(attributes)
        at += 1
    warnings += search.warnings
    return RecordedMatches(
        matches=await encoded(page, request.form),
        search=search,
        form=request.form,
        warnings=tuple(warnings),
    )


# --- the trail ---------------------------------------------------------------------------------------


def audit(
    request: SearchRequest, response: RecordedMatches | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the query: with its patient when all that is told is of one, and one event for each patient of
    whom consent kept something back, which the answer does not show."""
    patients = response.search.patients if response else set()
    withheld = response.search.withheld if response else {}

    def event(patient_id: str, outcome: Outcome, description: str = "") -> AuditEvent:
        return patterns.search(
            SERVED.event_type,
            Side.SERVER,
            caller,
            outcome,
            patient_id=patient_id,
            query_id=SERVED.number,
            octets=request.octets,
            description=description,
        )

    refusals = [
        event(patient_id, Outcome.SERIOUS_FAILURE, f"{REFUSED_BY_CONSENT}{reason}")
        for patient_id, reason in withheld.items()
    ]
    if refusals and not patients:
        return tuple(refusals)
    return (event(patients.copy().pop() if len(patients) == 1 else "", outcome), *refusals)


SERVED: Final[ServedRest[SearchRequest, RecordedMatches]] = ServedRest(
    number="RAD-129",
    name="QIDO-RS Query",
    routes=tuple(ROUTES),
    right=Right.ASK,
    speaker=Speaker.USER,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=encode,
    problems={
        negotiation.Malformed: BadRequest,
        negotiation.NothingAcceptable: NotAcceptable,
        WrongKey: BadRequest,
        CatalogueIncomplete: Unavailable,
        QueryTooWide: TooLarge,
    },
)
