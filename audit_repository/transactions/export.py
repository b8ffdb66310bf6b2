"""The records of a patient, a study or a time, to be taken along: `POST /api/export`.

Lines of JSON: what was asked for; the signed heads of all months; each record with every value that its link
covers, its octets in base64 and the link before it; and last the number of records, with the SHA-256 of
all lines before and its signature by the key of the trail. Without the last line the export is not whole.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncGenerator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from audit_repository.domain.exported import statement_of_export
from audit_repository.domain.record import instant, patient_term, term
from audit_repository.store.events import Search, StoredRecord
from audit_repository.store.retention import given_up
from audit_repository.store.signing import public_key_of
from audit_repository.store.verification import signed_heads
from audit_repository.transactions.log_use import ITI81, used
from audit_repository.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.rest.message import HttpResponse, JsonBody
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

NDJSON: Final = "application/x-ndjson"
_PAGE: Final = 500


class ExportRequest(BaseModel):
    """Which records; all that is given must hold, and nothing given is all of them."""

    model_config = ConfigDict(extra="forbid")

    patient: str = Field("", max_length=1_000, description="CX of the patient")
    object: str = Field("", max_length=1_000, description="Study Instance UID, or the id of another object")
    since: AwareDatetime | None = Field(None, description="EventDateTime from here on")
    until: AwareDatetime | None = Field(None, description="EventDateTime before this")

    def search(self) -> Search:
        """As the store is asked."""
        return Search(
            patient=term(patient_term(self.patient)),
            object=term(self.object),
            since=instant(self.since) if self.since else "",
            until=instant(self.until) if self.until else "",
            limit=_PAGE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Its lines, as they are made."""

    lines: AsyncGenerator[bytes]


async def handle(unit: Unit, request: ExportRequest) -> Export:
    """Begin an export, of the records that are there now; it is recorded before."""
    criteria = request.model_dump(mode="json", exclude_defaults=True)
    await unit.used(used(unit.caller, search=json.dumps({"export": criteria}).encode()))
    upto = unit.parts.trail.sequence
    return Export(lines=_lines(unit, criteria, replace(request.search(), before=upto + 1)))


async def _lines(unit: Unit, criteria: dict[str, Any], search: Search) -> AsyncGenerator[bytes]:
    trail, digest, number = unit.parts.trail, sha256(), 0

    def line(**members: Any) -> bytes:
        octets = json.dumps(members, ensure_ascii=False).encode() + b"\n"
        digest.update(octets)
        return octets

    key = public_key_of(trail.folder).decode()
    now = instant(datetime.now(UTC))
    yield line(export=criteria, time=now, upto=search.before - 1, public_key=key)
    for head, signature in await signed_heads(trail.database):
        yield line(head=asdict(head), signature=signature.hex())
    for certificate, signature in await given_up(trail.database):
        yield line(given_up=asdict(certificate), signature=signature.hex())
    while records := await trail.search(search):
        links = await trail.links([one.sequence - 1 for one in records])
        for item in records:
            number += 1
            yield line(record=_shown(item), previous=links.get(item.sequence - 1))
        search = replace(search, before=records[-1].sequence)
    whole = digest.hexdigest()
    signature = trail.sign(statement_of_export(number, whole))
    yield line(records=number, sha256=whole, signature=signature.hex())


def _shown(item: StoredRecord) -> dict[str, Any]:
    record = item.record
    return {
        "sequence": item.sequence,
        "partition": item.partition,
        "received": record.received,
        "peer": record.peer,
        "subject": record.subject,
        "raw": b64encode(record.raw).decode(),
        "digest": item.digest,
        "state": record.state.value,
        "reason": record.reason,
        "event_time": record.event_time,
        "event": record.event,
        "outcome": record.outcome,
        "terms": record.terms,
        "fingerprint": record.fingerprint,
        "standing": record.standing.value,
        "chain": item.chain,
    }


def encode(export: Export) -> HttpResponse:
    """The lines."""
    return HttpResponse(status=HTTPStatus.OK, media_type=NDJSON, stream=export.lines)


def audit(_: ExportRequest, __: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe an export that failed."""
    return (used(caller, outcome),)


SERVED: ServedRest[Any, Any] = ServedRest(
    name="Export of the trail",
    routes=("POST /api/export",),
    right=Right.TRAIL,
    decode=JsonBody(ExportRequest),
    handle=handle,
    audit=audit,
    event=ITI81,
    encode=encode,
)
