"""Storage Commitment over the web (PS3.18 13)."""

from __future__ import annotations

import json
from typing import Any

from conformance.instances import CT
from conformance.plans.images import stored
from conformance.plans.imaging_source.dicomweb import JSON, WEB, at, value
from conformance.plans.message import Reply
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source", needs=WEB)
_CLAUSE, _OPTION = "DICOM PS3.18 13", "Web Commitment"
_COMMITTED, _FAILED = "00081199", "00081198"


def _asked(stand: Stand, transaction: str, *uids: str) -> Reply:
    items = [
        {"00081150": {"vr": "UI", "Value": [CT]}, "00081155": {"vr": "UI", "Value": [uid]}} for uid in uids
    ]
    body = json.dumps([{_COMMITTED: {"vr": "SQ", "Value": items}}]).encode()
    url = at(stand, "commitment-requests", transaction)
    return stand.http("POST", url, body=body, headers={"Content-Type": JSON, "Accept": JSON})


def _uids(result: dict[str, Any], tag: str) -> list[str]:
    return sorted(str(value(item, "00081155")) for item in result.get(tag, {}).get("Value", []))


def _result(reply: Reply) -> dict[str, Any]:
    expect_equal((reply.status, reply.media_type), (200, JSON), "status and media type")
    answer = json.loads(reply.content)
    result: dict[str, Any] = answer[0] if isinstance(answer, list) else answer
    return result


@PLAN.requires("IMG-13-101", _CLAUSE, option=_OPTION)
def _(stand: Stand) -> None:
    """What is stored is committed, and the result is told again to who asks again."""
    image, transaction = stored(stand).images[0], stand.oid()
    result = _result(_asked(stand, transaction, image.uid))
    expect_equal(
        (_uids(result, _COMMITTED), _uids(result, _FAILED)), ([image.uid], []), "committed and failed"
    )
    url = at(stand, "commitment-requests", transaction)
    expect_equal(_result(stand.http("GET", url, headers={"Accept": JSON})), result, "the result told again")


@PLAN.requires("IMG-13-102", _CLAUSE, option=_OPTION)
def _(stand: Stand) -> None:
    """What nobody stored fails with its reason, beside what is committed."""
    image, stranger = stored(stand).images[0], stand.oid()
    result = _result(_asked(stand, stand.oid(), image.uid, stranger))
    expect_equal(
        (_uids(result, _COMMITTED), _uids(result, _FAILED)), ([image.uid], [stranger]), "committed and failed"
    )
    expect(value(result[_FAILED]["Value"][0], "00081197"), "there is no Failure Reason")


@PLAN.requires("IMG-13-103", _CLAUSE, option=_OPTION)
def _(stand: Stand) -> None:
    """Of a request that nobody made there is no result."""
    reply = stand.http("GET", at(stand, "commitment-requests", stand.oid()), headers={"Accept": JSON})
    expect_equal(reply.status, 404, "the HTTP status")
