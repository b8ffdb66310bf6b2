"""A privacy officer sees, tries, writes, explains and ends the policies of a patient in pages.

The registry keeps them, and both sides record who did.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lxml import html

from audit_repository.pages import policies, policy_changes
from audit_repository.store.events import Search
from shared.ebrim.model import Code
from tests.support.certificates import RADIOLOGIST, assertion_for, bearer, communities
from tests.support.consents import a_consent, an_actor, octets
from tests.support.every_door import House, a_house, acquainted
from tests.support.metadata import DOMAIN
from tests.transactions.audit_repository.test_pages import signed_in, token_in

pytestmark = [pytest.mark.heavy]

OFFICER = Code("PRIVACY", "2.999.40.1", "Privacy officer")
BTG = Code("BTG", "2.16.840.1.113883.5.8", "break the glass")
EXCEPT_ONE = {
    "type": "permit",
    "provision": [{"type": "deny", "actor": [an_actor("Practitioner", "u-778", "https://idp.example")]}],
}
CX = f"P-77^^^&{DOMAIN}&ISO"


@dataclass(frozen=True, slots=True)
class Desk:
    """A privacy officer at the pages, and the registry behind them."""

    house: House
    http: httpx2.AsyncClient

    async def asked(self, action: str, **content: Any) -> Any:
        url = self.house.url("registry", f"/consent/{action}")
        answer = await self.http.post(url, json={"patient_id": CX, **content})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def address(self, patient: str = "P-77") -> str:
        page = await self.http.get("/policies")
        answer = await self.http.post("/policies", data={"token": token_in(page), "patient": patient})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def sent(self, path: str, page: httpx2.Response, **fields: str) -> httpx2.Response:
        return await self.http.post(path, data={"token": token_in(page), **fields})


def hidden(page: httpx2.Response) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page.text)
    return {unescape(name): unescape(value) for name, value in found}


def marked(page: str) -> set[str]:
    """The names of the fields that are shown as wrong."""
    within = "ancestor::*[contains(concat(' ', @class, ' '), ' wrong ')]"
    return set(html.document_fromstring(page).xpath(f"//*[@name][{within}]/@name"))


@asynccontextmanager
async def a_desk(folder: Path, **more: Any) -> AsyncIterator[Desk]:
    house_of = acquainted()
    house_of["audit_repository"] |= {"privacy_officer_roles": (str(OFFICER),), "auditor_roles": ()}
    changes = {
        **house_of,
        "affinity_domain": DOMAIN,
        "patients": "any",
        "assertion": communities()[0].settings()["assertion"],
        **more,
    }
    async with (
        a_house(folder, **changes) as house,
        httpx2.AsyncClient(base_url=house.url("audit repository"), trust_env=False, timeout=60) as http,
    ):
        await signed_in(http, "p.officer", roles=(OFFICER,))
        yield Desk(house, http)


async def changes_in(desk: Desk) -> list[str]:
    """What the trail says of changes, in words."""
    found = await desk.house.services["audit repository"].trail.search(Search(type="110129", limit=100))
    values = re.findall(r'value="([^"]+)"', " ".join(one.record.raw.decode() for one in found))
    return [b64decode(value).decode() for value in values]


async def test_a_policy_is_tried_written_explained_and_ended(tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        http = desk.http
        address = await desk.address()
        empty = await http.get(address)
        form = await http.get(f"{address}/new")
        fields = {"effect": "deny", "roles": "SURGEON", "description": "as she wished"}
        before = await desk.sent(f"{address}/preview", form, **fields)
        kept_by_the_preview = (await desk.asked("policies"))["policies"]
        changed = await http.post(f"{address}/new", data=hidden(before))
        saved = [await http.post(address, data=hidden(before)) for _ in range(2)]
        listed = await http.get(address)
        question = await http.get(f"{address}/why")
        why = await desk.sent(f"{address}/why", question, role="SURGEON", document="2.25.7")
        end = await http.get(unescape(re.search(r'href="([^"]+/end[^"]+)"', listed.text)[1]))
        without_a_reason = await http.post(f"{address}/end", data=hidden(end))
        left = (await desk.asked("policies"))["policies"]
        ended = await http.post(f"{address}/end", data=hidden(end) | {"reason": "she changed her mind"})
        gone = (await desk.asked("policies"))["policies"]
        again = await http.post(f"{address}/end", data=hidden(end) | {"reason": "twice"})
        changes = await changes_in(desk)

    sentence = "Who has the role SURGEON may not find or open the patient&#39;s documents."
    assert "P-77" not in address
    assert "There is no policy" in empty.text
    assert sentence in before.text
    assert "The role SURGEON" in before.text
    assert kept_by_the_preview == []
    assert '<textarea id="roles"' in changed.text
    assert ">SURGEON</textarea>" in changed.text
    assert [one.status_code for one in saved] == [303, 303]
    assert listed.text.count(sentence) >= 1
    assert "p.officer" in listed.text
    assert "as she wished" in listed.text
    assert "Refused, because of this policy" in why.text
    assert without_a_reason.status_code == 422
    assert "Write why it ends" in without_a_reason.text
    assert [len(left), len(gone)] == [1, 0]
    assert left[0]["author"].find("p.officer") >= 0
    assert (ended.status_code, again.status_code) == (303, 404)
    assert "consent policy set: deny role SURGEON" in changes
    assert "consent policy removed: she changed her mind" in changes


async def test_a_policy_is_changed_in_one_step_with_its_reason(tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        http = desk.http
        address = await desk.address()
        form = await http.get(f"{address}/new")
        fields = {"effect": "deny", "roles": "SURGEON", "valid_until": "2130-05-04", "description": "a note"}
        await http.post(address, data=hidden(await desk.sent(f"{address}/preview", form, **fields)))
        listed = await http.get(address)
        link = unescape(re.search(r'href="([^"]+/change[^"]+)"', listed.text)[1])
        change = await http.get(link)
        unchanged = (await desk.asked("policies"))["policies"]
        new = {"effect": "deny", "roles": "NURSE", "valid_until": "2130-05-05 00:00", "description": "a note"}
        before = await http.post(f"{address}/preview", data=hidden(change) | new)
        without_a_reason = await http.post(address, data=hidden(before))
        otherwise = await http.post(f"{address}/new", data=hidden(before))
        left = (await desk.asked("policies"))["policies"]
        saved = await http.post(address, data=hidden(before) | {"reason": "the wrong role"})
        policies = (await desk.asked("policies"))["policies"]
        # Somebody else had the old one open.
        late = await http.post(address, data=hidden(before) | {"reason": "late"})
        await desk.asked("remove", policy_id=policies[0]["policy_id"])
        of_ended = [
            await http.post(address, data=hidden(before) | {"reason": "too late"}),
            await http.get(link),
        ]
        gone = (await desk.asked("policies"))["policies"]
        changes = await changes_in(desk)

    assert ">SURGEON</textarea>" in change.text
    assert 'value="2130-05-05 00:00"' in change.text
    assert "Change a policy" in change.text
    assert "The role NURSE" in before.text
    assert "The role SURGEON" in before.text
    assert without_a_reason.status_code == 422
    assert "Write why it changes" in without_a_reason.text
    assert "The role NURSE" in without_a_reason.text
    assert ">NURSE</textarea>" in otherwise.text
    assert hidden(otherwise)["replaces"] == unchanged[0]["created"]
    assert left == unchanged
    assert saved.status_code == 303
    [policy] = policies
    assert policy["policy_id"] == unchanged[0]["policy_id"]
    assert policy["roles"] == ["NURSE"]
    assert policy["valid_until"] == unchanged[0]["valid_until"]
    assert policy["created"] != unchanged[0]["created"]
    assert late.status_code == 422
    assert "Changed or ended meanwhile" in late.text or "changed or ended meanwhile" in late.text
    assert [one.status_code for one in of_ended] == [422, 404]
    assert gone == []
    assert "consent policy changed: deny role NURSE: the wrong role" in changes


async def test_what_the_form_cannot_say_is_not_changed_by_it(tmp_path: Path):
    consent = octets(a_consent((DOMAIN, "P-77"), provision=EXCEPT_ONE))
    async with a_desk(tmp_path) as desk:
        registry = desk.house.url("registry")
        await desk.http.post(
            f"{registry}/fhir/Consent", content=consent, headers={"content-type": "application/fhir+json"}
        )
        await desk.asked("set", effect="deny", roles=["CLERK"], actions=["query"])
        address = await desk.address()
        listed = await desk.http.get(address)
        policies = (await desk.asked("policies"))["policies"]
        answers = [
            await desk.http.get(f"{address}/change", params={"policy": one["policy_id"]}) for one in policies
        ]

    assert listed.text.count("/change?") == 1
    assert {one.status_code for one in answers} == {409}


async def test_a_consent_document_ends_whole_and_a_break_waits_for_its_review(tmp_path: Path):
    consent = octets(a_consent((DOMAIN, "P-77"), provision=EXCEPT_ONE))
    assertion = assertion_for("dr.a", purposes=(BTG,))
    of_registry = {"break_glass_roles": [str(RADIOLOGIST)], "break_glass_purposes": [str(BTG)]}
    async with a_desk(tmp_path, **of_registry) as desk:
        fhir, broken = (desk.house.url("registry", path) for path in ("/fhir/Consent", "/consent/break"))
        kept = await desk.http.post(fhir, content=consent, headers={"content-type": "application/fhir+json"})
        emergency = {"patient_id": CX, "reason": "unconscious, on call"}
        declared = await desk.http.post(
            broken, json=emergency, headers={"authorization": f"Bearer {bearer(assertion)}"}
        )
        address = await desk.address()
        listed = await desk.http.get(address)
        end = await desk.http.get(unescape(re.search(r'href="([^"]+/end[^"]+)"', listed.text)[1]))
        ended = await desk.http.post(f"{address}/end", data=hidden(end) | {"reason": "withdrawn in writing"})
        of_the_break = hidden(end) | {"policy_id": declared.json()["policy_id"], "reason": "over"}
        not_ended = await desk.http.post(f"{address}/end", data=of_the_break)
        left = (await desk.asked("policies"))["policies"]

    assert kept.status_code == 201, kept.text
    assert "a consent document" in listed.text
    assert "break-glass, in an emergency" in listed.text
    assert "unconscious, on call" in listed.text
    assert listed.text.count("/end?") == 2
    assert "these policies" in end.text
    assert (ended.status_code, not_ended.status_code) == (303, 409)
    assert [one["effect"] for one in left] == ["break"]


async def test_what_is_wrong_stands_beside_its_field_and_nothing_is_kept(tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        address = await desk.address()
        form = await desk.http.get(f"{address}/new")
        wrong = {"effect": "", "roles": "^^1.2", "valid_until": "soon", "users": "<b>x</b>@y"}
        answers = [await desk.sent(path, form, **wrong) for path in (f"{address}/preview", address)]
        finder = await desk.sent("/policies", form, patient="no^such^id")
        nobody = await desk.sent(f"{address}/why", form, role="")
        kept = (await desk.asked("policies"))["policies"]

    for answer in (*answers, finder, nobody):
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text or "aria-invalid" in answer.text
    for answer in answers:
        assert answer.text.count('aria-invalid="true"') == 2
        assert marked(answer.text) == {"effect", "roles", "valid_until"}
        assert "Choose whether it permits or denies" in answer.text
        assert "Write a day, as 2030-05-04" in answer.text
        assert "&lt;b&gt;x&lt;/b&gt;@y" in answer.text
    assert kept == []


async def test_others_learn_nothing_not_even_whose_a_link_is(tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        address = await desk.address()
        desk.http.cookies.clear()
        await signed_in(desk.http, "p.other", roles=(OFFICER,))
        of_another = await desk.http.get(address)
        desk.http.cookies.clear()
        await signed_in(desk.http, "dr.roe")
        page = await desk.http.get("/sign-in")
        answers = []
        for served in (*policies.SERVED, *policy_changes.SERVED):
            method, _, path = served.routes[0].partition(" ")
            for handle in (address.rpartition("/")[2], "nonsense"):
                data = {"token": token_in(page)} if method == "POST" else None
                answers.append(await desk.http.request(method, path.replace("{handle}", handle), data=data))

    assert of_another.status_code == 404
    assert {one.status_code for one in answers} == {403}
    assert len({re.sub(r'value="[^"]*"', "", one.text) for one in answers}) == 1


async def test_every_look_and_every_change_is_recorded_with_patient_and_person(tmp_path: Path):
    async with a_desk(tmp_path) as desk:
        trail = desk.house.services["audit repository"].trail
        address = await desk.address()
        before = trail.sequence
        await desk.http.get(address)
        [look] = await trail.search(Search(patient=CX, limit=100))

    assert trail.sequence >= before + 1
    assert "p.officer" in look.record.raw.decode()
    assert "consent-policies" in look.record.raw.decode()


async def test_a_registry_that_is_away_is_told_and_nothing_is_kept(tmp_path: Path):
    from tests.transactions.audit_repository.served import asked

    async with asked(tmp_path, registry_url="http://127.0.0.1:9/xds/registry") as (_, http):
        page = await http.get("/policies")
        found = await http.post("/policies", data={"token": token_in(page), "patient": "P-77"})
        answer = await http.get(found.headers["location"])

    assert answer.status_code == 503
    assert "XDSI_REGISTRY_URL" in answer.text
