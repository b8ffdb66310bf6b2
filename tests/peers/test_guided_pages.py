"""A person without a mouse tests a system from a page in Chromium, under the policy of our pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.corpus import manifests, metadata
from conformance.plans.catalogue import probes
from conformance.plans.run import chosen, run
from conformance.plans.stand import Target
from conformance.reports.data import as_json, differences
from conformance.reports.findings import findings_page
from conformance.reports.page import page
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from conformance.validation import judge
from tests.support.conformance import conformance_served
from tests.support.viewing import AXE, Onlooker, Pictures, Window

pytestmark = [pytest.mark.peer, pytest.mark.heavy]

_ELEMENT = "document.getElementById"


def by_keyboard(tab: Window, base: str, gateway: str, pictures: Pictures) -> list[str]:
    """A gateway is tested, with wrong addresses first."""
    tab.page.goto(f"{base}/")
    wrong = tab.wrong_in("judge", pictures)
    tab.tab_to("a[href='/guides']")
    tab.strike("Enter")
    tab.until("document.title.startsWith('Test a system')")
    wrong += tab.wrong_in("guides", pictures)
    tab.tab_to("a[href='/guides/gateway']")
    tab.strike("Enter")
    tab.until("document.title.startsWith('Test my Gateway')")
    wrong += tab.wrong_in("guide", pictures)
    tab.tab_to("#initiating")
    tab.type("http://evil.example/xds")
    tab.strike("Enter")
    tab.until("document.querySelector('.notice')")
    assert "may not be tested from here" in tab.evaluate(f"{_ELEMENT}('initiating-hint').textContent")
    wrong += tab.wrong_in("refused", pictures)
    for box, text in (("initiating", gateway), ("home", "urn:oid:2.999.72")):
        tab.tab_to(f"#{box}")
        tab.evaluate("document.activeElement.select()")
        tab.type(text)
    tab.strike("Enter")
    tab.until("document.title.startsWith('Testing')")
    tab.until("document.title.includes('assed')")
    wrong += tab.wrong_in("result", pictures)
    tab.tab_to("summary")
    tab.strike("Enter")
    assert tab.evaluate("document.querySelector('details').open")
    tab.tab_to("a.button[download]")
    return [*wrong, *tab.errors, *tab.refusals]


def at_the_consumer(tab: Window, base: str, pictures: Pictures) -> list[str]:
    """A person is asked, live, and answers; and cancels."""
    tab.page.goto(f"{base}/guides/consumer")
    wrong = tab.wrong_in("consumer", pictures)
    assert tab.evaluate("!document.querySelector('button[data-copy]').hidden")
    tab.evaluate("document.querySelector('#consumer').focus()")
    tab.strike("Enter")
    tab.until("document.title.startsWith('Testing')")
    tab.until("!document.getElementById('question').hidden")
    wrong += tab.wrong_in("question", pictures)
    asked = tab.evaluate("document.getElementById('question-text').textContent")
    tab.tab_to("#question button[value=no]")
    tab.strike("Enter")
    tab.until(f"!{_ELEMENT}('question').hidden && {_ELEMENT}('question-text').textContent !== {asked!r}")
    tab.tab_to("form[action='/cancel'] button")
    tab.strike("Enter")
    tab.until("document.body.innerText.includes('It was cancelled')")
    return [*wrong, *tab.wrong_in("cancelled", pictures), *tab.errors, *tab.refusals]


async def test_a_gateway_and_a_consumer_are_tested_by_keyboard_and_axe_finds_nothing(
    tmp_path: Path, pictures: Pictures, onlooker: Onlooker
):
    played = Cast(World("2.999.1", home="urn:oid:2.999.72"), {"initiating-gateway": RIGHT})
    with http_simulator(played.handle) as gateway:
        async with conformance_served(tmp_path / "data", peers_port=0, peers_syslog_port=0) as served:

            def walked(tab: Window) -> list[str]:
                wrong = by_keyboard(tab, served.base, f"{gateway.url}/xca/initiating", pictures)
                return wrong + at_the_consumer(tab, served.base, pictures)

            assert await onlooker.sees(walked) == []
    if not AXE.is_file():
        pytest.skip("axe-core is not here (make viewer): walked, and not judged by it")


async def test_reports_are_one_file_each_and_axe_finds_nothing(
    tmp_path: Path, pictures: Pictures, onlooker: Onlooker
):
    with http_simulator(Cast(World("2.999.1"), {"registry": RIGHT}).handle) as simulator:
        target = Target(endpoints={"registry": f"{simulator.url}/xds/registry"}, domain="2.999.1")
        outcome = run(chosen(probes(), ["REG-SOAP", "REG-42-20"]), target, tmp_path / "run")
    assert not outcome.passed
    earlier = as_json(outcome)
    earlier["verdicts"][0]["outcome"] = "undecided"
    examples = [
        judge(one.octets, one.name) for one in list(metadata.examples())[:4] + list(manifests.examples())[:4]
    ]
    (tmp_path / "run.html").write_text(page(outcome, differences(earlier, as_json(outcome))), "utf-8")
    (tmp_path / "findings.html").write_text(findings_page(examples), "utf-8")

    def looked(tab: Window) -> list[str]:
        wrong = []
        for name in ("run", "findings"):
            tab.page.goto((tmp_path / f"{name}.html").as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach((one, n) => one.open = n < 3)")
            wrong += tab.wrong_in(name, pictures)
            wrong += tab.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        return [*wrong, *tab.errors, *tab.refusals]

    assert await onlooker.sees(looked) == []
