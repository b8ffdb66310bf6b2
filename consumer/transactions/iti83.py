"""Mobile Patient Identifier Cross-reference Query [ITI-83], initiating side: who a patient of the affinity
domain is in the own hospital (IHE PIXm 3.1.0, 2:3.83).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import httpx2

from consumer.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome, ihe
from shared.audit.patterns import Side
from shared.ebrim.identifiers import CX
from shared.security.caller import Caller
from shared.settings import SettingsError
from shared.soap.client import PeerUnclear, PeerUnreachable

EVENT_TYPE: Final = ihe("ITI-83", "Mobile Patient Identifier Cross-reference Query")
_JSON: Final = "application/fhir+json"
_OID: Final = "urn:oid:"
# A patient has a few ids; an answer that does not end is none.
_MOST_OCTETS: Final = 1024**2


async def local_ids(unit: Unit, patient_id: str) -> tuple[str, ...]:
    """The ids that the manager knows in `pix_domain` for a patient, whose id is a CX: none, one or several.

    Raises
    ------
    PeerError
        The manager gives no answer that can be used, or does not know one of the domains.
    SettingsError
        No manager is set.
    """
    settings = unit.settings
    if settings.pix_url is None or settings.pix_domain is None:
        raise SettingsError(
            ("XDSI_CONSUMER__PIX_URL, XDSI_CONSUMER__PIX_DOMAIN: needed to ask who a patient is",)
        )
    source = CX.parse(patient_id)
    query = {
        "sourceIdentifier": f"{_OID}{source.authority}|{source.id}",
        "targetSystem": f"{_OID}{settings.pix_domain}",
    }
    url = f"{settings.pix_url.rstrip('/')}/Patient/$ihe-pix"
    outcome = Outcome.SERIOUS_FAILURE
    try:
        answer = await _answer(unit, url, query)
        outcome = Outcome.SUCCESS
    finally:
        octets = str(httpx2.QueryParams(query)).encode()
        await unit.record(audit(unit.caller(url), octets, patient_id, outcome))
    return tuple(dict.fromkeys(_ids(answer, query["targetSystem"])))


def audit(caller: Caller, octets: bytes, patient_id: str, outcome: Outcome) -> AuditEvent:
    """Describe the query, whose parameters are `octets`, and whom it was about."""
    return patterns.search(
        EVENT_TYPE,
        Side.CLIENT,
        caller,
        outcome,
        patient_id=patient_id,
        query_id=EVENT_TYPE.code,
        octets=octets,
    )


async def _answer(unit: Unit, url: str, query: dict[str, str]) -> dict[str, Any]:
    """The Parameters of the answer; empty where the manager does not know the patient."""
    try:
        async with unit.http.stream("GET", url, params=query, headers={"accept": _JSON}) as answer:
            if answer.status_code == HTTPStatus.NOT_FOUND:
                return {}
            if answer.status_code != HTTPStatus.OK:
                raise PeerUnclear(url, f"the answer is {answer.status_code}")
            octets = bytearray()
            async for piece in answer.aiter_bytes():
                octets += piece
                if len(octets) > _MOST_OCTETS:
                    raise PeerUnclear(url, "the answer is too long")
    except httpx2.ConnectError as error:
        raise PeerUnreachable(url, str(error)) from error
    except httpx2.HTTPError as error:
        raise PeerUnclear(url, str(error) or type(error).__name__) from error
    return _parameters(url, bytes(octets))


def _parameters(url: str, octets: bytes) -> dict[str, Any]:
    try:
        parameters = json.loads(octets)
    except (ValueError, RecursionError):
        parameters = None
    if not isinstance(parameters, dict) or parameters.get("resourceType") != "Parameters":
        raise PeerUnclear(url, "the answer is no Parameters resource of FHIR in JSON")
    return parameters


def _ids(parameters: dict[str, Any], system: str) -> Iterator[str]:
    """The ids of the domain that was asked for; a manager may tell others beside (2:3.83.4.2)."""
    listed = parameters.get("parameter")
    for one in listed if isinstance(listed, list) else ():
        if not isinstance(one, dict) or one.get("name") != "targetIdentifier":
            continue
        identifier = one.get("valueIdentifier")
        if not isinstance(identifier, dict) or identifier.get("system") != system:
            continue
        value = identifier.get("value")
        if isinstance(value, str) and value.strip():
            yield value.strip()
