"""Who broke the glass at the registry is signed off in the pages of the trail by somebody else; both know."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from pathlib import Path

import httpx2
import pytest

from audit_repository.store.events import Search
from shared.audit import patterns
from shared.audit.events import EMERGENCY_OVERRIDE_STARTED, EMERGENCY_OVERRIDE_STOPPED, Outcome
from shared.audit.patterns import Side
from shared.ebrim.model import Code
from tests.support.audit import PATIENT, a_caller
from tests.support.certificates import RADIOLOGIST, assertion_for, bearer, communities
from tests.support.every_door import House, a_house, acquainted
from tests.support.metadata import DOMAIN
from tests.transactions.audit_repository.test_pages import recent, signed_in, token_in
from xdsi.stage import free_ports

pytestmark = [pytest.mark.heavy]

BTG = Code("BTG", "2.16.840.1.113883.5.8", "break the glass")
OURS = f"P-77^^^&{DOMAIN}&ISO"


async def recorded(house: House, kind: str, number: int) -> None:
    """Wait until the trail has so many records of a kind."""
    trail = house.services["audit repository"].trail
    async with asyncio.timeout(30):
        while len(await trail.search(Search(type=kind))) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def reviewed(http: httpx2.AsyncClient, reason: str, note: str) -> httpx2.Response:
    """The answer to the sign-off of the emergency with a reason."""
    page = await http.get("/emergencies")
    (form,) = [one for one in page.text.split("<section")[1:] if reason in one]
    break_id = unescape(re.search(r'name="break_id" value="([^"]+)"', form)[1])
    fields = {"token": token_in(page), "break_id": break_id, "days": "30", "note": note}
    return await http.post("/emergencies/sign-off", data=fields)


async def test_a_break_is_signed_off_in_the_trail_and_at_the_registry_by_another_person(tmp_path: Path):
    [syslog] = free_ports(1)
    changes = {
        **acquainted(),
        "affinity_domain": DOMAIN,
        "patients": "any",
        "assertion": communities()[0].settings()["assertion"],
        "audit": {"url": f"tcp://127.0.0.1:{syslog}"},
        "syslog_port": syslog,
        "break_glass_roles": [str(RADIOLOGIST)],
        "break_glass_purposes": [str(BTG)],
    }
    declared = {"patient_id": OURS, "reason": "unconscious, allergies?"}
    token = bearer(assertion_for("dr.a", purposes=(BTG,)))
    async with a_house(tmp_path, **changes) as house, httpx2.AsyncClient(trust_env=False) as registry:
        registry.base_url = httpx2.URL(house.url("registry"))
        answer = await registry.post(
            "/consent/break", json=declared, headers={"authorization": f"Bearer {token}"}
        )
        assert answer.status_code == 200, answer.text
        await recorded(house, "110127", 1)
        base = house.url("audit repository")
        async with httpx2.AsyncClient(base_url=base, trust_env=False) as http:
            await signed_in(http, "dr.a")
            own = await reviewed(http, "unconscious", "it was me")
            http.cookies.clear()
            await signed_in(http, "o.lang")
            without_a_note = await reviewed(http, "unconscious", " ")
            done = await reviewed(http, "unconscious", "she was on call")
            page = await http.get("/emergencies")
        left = (await registry.post("/consent/breaks", json={})).json()["breaks"]
        await recorded(house, "110138", 4)

    assert (own.status_code, without_a_note.status_code, done.status_code) == (409, 422, 303)
    assert left == []
    assert "None waits for a review" in page.text
    # The record of the registry, which may have come by now, says more beside the note.
    assert "she was on call" in page.text
    assert "by o.lang" in page.text


async def test_an_emergency_of_another_product_is_signed_off_by_the_trail_alone(tmp_path: Path):
    foreign = patterns.break_glass(
        Side.SERVER,
        a_caller(),
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STARTED,
        policy_id="urn:oid:2.999.4711",
        patient_id=PATIENT,
        reason="resuscitation",
    )
    async with a_house(tmp_path, **acquainted()) as house:
        trail = house.services["audit repository"].trail
        await trail.append([recent(event=foreign)])
        async with httpx2.AsyncClient(base_url=house.url("audit repository"), trust_env=False) as http:
            done = await reviewed(http, "resuscitation", "seen in the room")
            page = await http.get("/emergencies")
        [record] = await trail.search(Search(type=EMERGENCY_OVERRIDE_STOPPED.code))

    assert done.status_code == 303, done.text
    assert "seen in the room" in page.text
    assert ("patient", PATIENT) in record.record.terms


async def test_where_the_registry_cannot_be_asked_nothing_is_signed_off(tmp_path: Path):
    from tests.transactions.audit_repository.served import asked

    foreign = patterns.break_glass(
        Side.SERVER,
        a_caller(),
        Outcome.SUCCESS,
        kind=EMERGENCY_OVERRIDE_STARTED,
        policy_id="urn:uuid:1",
        patient_id=PATIENT,
        reason="resuscitation",
    )
    async with asked(tmp_path, registry_url="http://127.0.0.1:9/xds/registry") as (service, http):
        await service.trail.append([recent(event=foreign)])
        answer = await reviewed(http, "resuscitation", "seen in the room")
        page = await http.get("/emergencies")
        records = await service.trail.search(Search(type=EMERGENCY_OVERRIDE_STOPPED.code, failed=True))

    assert answer.status_code == 503
    assert "XDSI_REGISTRY_URL" in answer.text
    assert "1 emergency waits" in page.text
    assert len(records) == 1
