"""A person tests a system from a page: what is told before, the steps as they come, the end, the reports."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from lxml import etree

from conformance.findings import Severity
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from conformance.trials.guide import GUIDES
from conformance.validation import judge
from tests.support.conformance import Served, conformance_served

HOME = "urn:oid:2.999.72"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with conformance_served(tmp_path, trials=1, max_trials=2) as one:
        yield one


async def begun(served: Served, actor: str, **boxes: str) -> httpx2.Response:
    return await served.posted("/trials", data={"token": await served.token(), "actor": actor, **boxes})


async def trial(served: Served, actor: str, **boxes: str) -> str:
    answer = await begun(served, actor, **boxes)
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def state(served: Served, path: str, after: int = 0) -> dict[str, Any]:
    return (await served.page(f"{path}/steps?after={after}")).json()


async def reached(served: Served, path: str, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """What is known of a trial as soon as something holds of it."""
    for _ in range(1_200):
        now = await state(served, path)
        if holds(now):
            return now
        await asyncio.sleep(0.05)
    raise AssertionError(now)


async def at_end(served: Served, path: str) -> str:
    await reached(served, path, lambda now: not now["runs"])
    return unescape((await served.page(path)).text)


async def of_tests(served: Served) -> list[bytes]:
    """The records of who had, or wanted to have, a system tested."""
    return [one for one in await served.records() if b'csd-code="110132"' in one]


async def tried_in_vain(served: Served) -> str:
    """A consumer that waits for its person."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = one.getsockname()[1], other.getsockname()[1]
    for name, port in zip(("peers_port", "peers_syslog_port"), ports, strict=True):
        object.__setattr__(served.service.parts.settings, name, port)
    return await trial(served, "consumer", domain="2.999.1")


async def test_every_actor_has_a_guide_that_says_what_to_set_up_and_asks_what_it_needs(served: Served):
    listed = (await served.page("/guides")).text
    for guide in GUIDES:
        assert f'href="/guides/{guide.actor}"' in listed
        page = (await served.page(f"/guides/{guide.actor}")).text
        for text in (guide.title, *guide.before, *(box.label for box in guide.boxes), "Begin the test"):
            assert text in unescape(page)
    assert 'href="/guides"' in (await served.page()).text
    assert (await served.page("/guides/nobody")).status_code == 404


async def test_a_consumer_is_told_where_our_peers_listen(served: Served):
    page = unescape((await served.page("/guides/consumer")).text)
    for told in ("http://127.0.0.1:8200/xds/registry", "tcp://127.0.0.1:8201", "1.2.3.77", "P-1^^^&"):
        assert told in page


async def test_a_gateway_is_tested_and_its_reports_are_handed_in(served: Served):
    with http_simulator(Cast(World("2.999.1", home=HOME), {"initiating-gateway": RIGHT}).handle) as gateway:
        address = f"{gateway.url}/xca/initiating"
        path = await trial(served, "gateway", initiating=address, home=HOME, domain="2.999.1")
        page = await at_end(served, path)

    assert f"Initiating is reached at {address}" in page
    assert "Gateway: <span" in page
    steps = (await state(served, path))["steps"]
    assert steps[0]["id"] == "REACH-INITIATING"
    assert {one["outcome"] for one in steps} >= {"passed", "not offered"}
    assert all(one["clause"] for one in steps[1:])
    html, xml, data = [
        await served.page(f"{path}/reports/{name}") for name in ("report.html", "junit.xml", "report.json")
    ]
    assert "attachment" in html.headers["content-disposition"]
    assert address in html.text
    assert len(etree.fromstring(xml.content).findall(".//testcase")) == len(steps)
    assert [one["id"] for one in json.loads(data.content)["verdicts"]] == [one["id"] for one in steps]


async def test_who_has_which_system_tested_is_recorded_once(served: Served):
    path = await trial(served, "registry", registry="http://127.0.0.1:9/xds", domain="2.999.1")
    await at_end(served, path)

    (record,) = await of_tests(served)
    assert b'EventOutcomeIndicator="0"' in record
    assert b'ParticipantObjectID="http://127.0.0.1:9/xds"' in record
    assert b64encode(f"test of registry at {path}".encode()) in record
    assert not [one for one in judge(record, "record").findings if one.severity is Severity.ERROR]


async def test_who_wanted_to_have_a_system_tested_that_may_not_be_is_recorded(served: Served):
    await begun(served, "registry", registry="http://192.0.2.7/xds", domain="2.999.1")

    (record,) = await of_tests(served)
    assert b'EventOutcomeIndicator="8"' in record
    assert b'ParticipantObjectID="http://192.0.2.7/xds"' in record


async def test_a_consumer_at_which_a_person_acts_is_recorded_by_where_it_asks(served: Served):
    await tried_in_vain(served)

    port = served.service.parts.settings.peers_port
    assert f'ParticipantObjectID="127.0.0.1:{port}"'.encode() in (await of_tests(served))[-1]


async def test_a_wrong_address_is_told_in_words_and_nothing_else_is_asked(served: Served):
    path = await trial(served, "registry", registry="http://127.0.0.1:9/xds", domain="2.999.1")
    page = await at_end(served, path)

    assert "not reached" in page
    assert "nothing listens at 127.0.0.1:9: start the system, or correct the port" in page
    assert [one["id"] for one in (await state(served, path))["steps"]] == ["REACH-REGISTRY"]
    assert (await state(served, path, after=1))["steps"] == []
    assert (await served.page(f"{path}/reports/order.json")).status_code == 404


async def test_what_may_not_be_tested_is_told_in_its_box_and_what_was_written_stays(served: Served):
    answer = await begun(served, "registry", registry="http://192.0.2.7/<b>", domain="x", feed="127.0.0.1:1")
    page = unescape(answer.text)

    assert answer.status_code == 422
    assert "at 192.0.2.7, which may not be tested from here" in page
    assert 'aria-invalid="true" aria-describedby="registry-hint"' in page
    assert 'value="127.0.0.1:1"' in page
    assert "/<b>" not in answer.text


async def test_a_person_answers_at_the_page_and_a_reload_asks_the_same(served: Served):
    path = await tried_in_vain(served)
    question = (await reached(served, path, lambda now: now["question"]))["question"]
    page = unescape((await served.page(path)).text)
    assert question["text"] in page
    fields = {"token": await served.token(), "trial": path.rpartition("/")[2], "number": "1", "answer": "no"}
    assert (await served.posted("/answer", data=fields)).status_code == 303
    again = await served.posted("/answer", data=fields)
    assert again.status_code == 409
    await reached(served, path, lambda now: now["question"] not in (None, question))


async def test_no_more_run_than_may_and_one_that_is_cancelled_makes_room(served: Served):
    path = await tried_in_vain(served)
    boxes = {"registry": "http://127.0.0.1:9/xds", "domain": "2.999.1"}
    refused = await begun(served, "registry", **boxes)
    fields = {"token": await served.token(), "trial": path.rpartition("/")[2]}
    await served.posted("/cancel", data=fields)

    assert refused.status_code == 503
    assert "as many tests run now as may" in refused.text.lower()
    assert "It was cancelled" in (await served.page(path)).text
    assert (await begun(served, "registry", **boxes)).status_code == 303


async def test_a_test_that_takes_too_long_is_ended(served: Served):
    object.__setattr__(served.service.parts.settings, "trial_seconds", 0.01)
    path = await trial(served, "registry", registry="http://127.0.0.1:9/xds", domain="2.999.1")

    assert "stopped after 0.01 s" in await at_end(served, path)


async def test_tests_are_bounded_and_outlive_the_service(tmp_path: Path):
    boxes = {"registry": "http://127.0.0.1:9/", "domain": "2.999.1"}
    async with conformance_served(tmp_path, max_trials=2) as served:
        paths = [await trial(served, "registry", **boxes)]
        await served.posted(
            "/cancel", data={"token": await served.token(), "trial": paths[0].rpartition("/")[2]}
        )
        paths += [await trial(served, "registry", **boxes)]
        await at_end(served, paths[1])
        paths += [await tried_in_vain(served)]
    async with conformance_served(tmp_path) as served:
        answers = [(await served.page(path)) for path in paths]

    assert [one.status_code for one in answers] == [404, 200, 200]
    assert "not reached" in answers[1].text
    assert "service was stopped while it ran" in answers[2].text


@pytest.mark.parametrize("id", ["x", "..%2F..%2Fetc", "AAAAAAAAAAAAAAAAAAAAAA"])
async def test_a_test_that_nobody_began_is_not_found(served: Served, id: str):
    for path in ("", "/steps", "/reports/report.html", "/reports/order.json"):
        assert (await served.page(f"/trials/{id}{path}")).status_code == 404
    fields = {"token": await served.token(), "trial": id[:22], "number": "1", "answer": "yes"}
    assert (await served.posted("/cancel", data=fields)).status_code == 404
    assert (await served.posted("/answer", data=fields)).status_code == 404


async def test_a_form_of_another_site_begins_nothing(served: Served):
    fields = {"token": "x", "actor": "registry", "registry": "http://127.0.0.1:9/xds", "domain": "2.999.1"}
    assert (await served.posted("/trials", data=fields)).status_code == 403
    assert not (served.folder / "trials").exists()


async def test_the_pages_have_one_script_of_our_own_and_none_within(served: Served):
    for path in ("/guides/registry", "/guides/consumer"):
        page = await served.page(path)
        assert re.findall(r"<script[^>]*>", page.text) == ['<script src="/guide.js" defer>']
        assert "script-src 'self'" in page.headers["content-security-policy"]
    assert (await served.page("/guide.js")).headers["content-type"].startswith("text/javascript")
