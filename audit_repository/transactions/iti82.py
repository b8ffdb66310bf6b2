"""Retrieve Syslog Event [ITI-82]: syslog messages by what stands in their header (RESTful ATNA).

What could not be read as an audit message is found here too; records of the FHIR feed are no syslog messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from audit_repository.domain.parameters import Asked
from audit_repository.domain.record import instant, is_resource, syslog_message
from audit_repository.store.events import StoredRecord
from audit_repository.store.selection import Position, Selection, selected
from audit_repository.transactions.log_use import ITI82, check_auditor, used
from audit_repository.transactions.reading import search_of
from audit_repository.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.audit.syslog import SyslogMessage
from shared.http.problem import BadRequest
from shared.rest.fhir import OperationOutcome, search_parameters
from shared.rest.message import HttpRequest, json_response
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

MOST_MESSAGES: Final = 500
MOST_SCANNED: Final = 10_000

_FIELDS: Final[Mapping[str, Callable[[SyslogMessage], str]]] = {
    "pri": lambda message: str(message.facility * 8 + message.severity),
    "version": lambda _: "1",
    "hostname": lambda message: message.hostname,
    "app-name": lambda message: message.app_name,
    "procid": lambda message: message.procid,
    "msg-id": lambda message: message.msgid,
    "msg": lambda message: message.body.decode("utf-8", "replace"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyslogSearch:
    """What the fields of a header are, and what the message holds; `when` bounds the time of the event, or of
    the receipt of what could not be read."""

    fields: tuple[tuple[str, tuple[str, ...]], ...]
    when: Asked
    parameters: bytes

    def matches(self, message: SyslogMessage) -> bool:
        """Whether a message is meant."""
        for name, values in self.fields:
            value = _FIELDS[name](message)
            if not (any(one in value for one in values) if name == "msg" else value in values):
                return False
        return True


async def decode(request: HttpRequest) -> SyslogSearch:
    """The parameters of a search.

    Raises
    ------
    BadRequest
        One cannot be read, or none says when.
    """
    parameters = await search_parameters(request)
    unknown = [name for name, _ in parameters if name not in _FIELDS and name not in ("date", "_format")]
    if unknown:
        raise BadRequest(f"a parameter is not known; known are date, {', '.join(_FIELDS)}")
    when = search_of([pair for pair in parameters if pair[0] == "date"])
    fields = tuple((name, tuple(value.split(","))) for name, value in parameters if name in _FIELDS)
    return SyslogSearch(fields=fields, when=when, parameters=request.scope.get("query_string", b""))


async def handle(unit: Unit, search: SyslogSearch) -> list[dict[str, Any]]:
    """Find syslog messages by their header, the latest first, at most 500."""
    check_auditor(unit.caller, unit.parts.settings.auditor_roles)
    await unit.used(used(unit.caller, search=search.parameters, transaction=ITI82))
    messages: list[dict[str, Any]] = []
    for parsed in (True, False):
        messages += await _found(unit, search, parsed=parsed)
    return sorted(messages, key=lambda one: str(one["received"]), reverse=True)[:MOST_MESSAGES]


async def _found(unit: Unit, search: SyslogSearch, *, parsed: bool) -> list[dict[str, Any]]:
    selection = Selection(
        since="" if search.when.since is None else instant(search.when.since),
        until="9999" if search.when.until is None else instant(search.when.until),
        parsed=parsed,
        position=Position(upto=unit.parts.trail.sequence),
    )
    messages: list[dict[str, Any]] = []
    scanned = 0
    while scanned < MOST_SCANNED and len(messages) < MOST_MESSAGES:
        records = await selected(unit.parts.trail.database, selection)
        messages += await asyncio.to_thread(_matching, records, search)
        scanned += len(records)
        if len(records) < selection.limit:
            break
        last = records[-1]
        time = last.record.event_time if parsed else last.record.received
        selection = replace(
            selection, position=replace(selection.position, event_time=time, sequence=last.sequence)
        )
    return messages


def _matching(records: Sequence[StoredRecord], search: SyslogSearch) -> list[dict[str, Any]]:
    shown = []
    for item in records:
        if is_resource(item.record.raw):
            continue
        message = syslog_message(item.record.raw)
        if message is not None and search.matches(message):
            header = {name: value(message) for name, value in _FIELDS.items() if name != "msg"}
            time = {"timestamp": "" if message.time is None else instant(message.time)}
            shown.append(_shown(item, {**header, **time}, message.body))
        elif message is None and not search.fields:
            shown.append(_shown(item, {}, item.record.raw))
    return shown


def _shown(item: StoredRecord, header: Mapping[str, str], body: bytes) -> dict[str, Any]:
    return {
        **header,
        "msg": body.decode("utf-8", "backslashreplace"),
        "received": item.record.received,
        "state": item.record.state.value,
        "sequence": item.sequence,
    }


def audit(
    search: SyslogSearch, _: list[dict[str, Any]] | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a search that failed."""
    return (used(caller, outcome, search=search.parameters, transaction=ITI82),)


SERVED: ServedRest[Any, Any] = ServedRest(
    number="ITI-82",
    name="Retrieve Syslog Event",
    routes=("GET /fhir/syslogsearch",),
    right=Right.TRAIL,
    decode=decode,
    handle=handle,
    audit=audit,
    encode=json_response,
    error_form=OperationOutcome,
)
