"""What is written into the boxes of a guide is judged before anything is connected to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.settings import ConformanceSettings
from conformance.trials.guide import GUIDES, guide_of
from conformance.trials.order import Order, OrderRefused, ordered
from conformance.trials.process import probes_of
from tests.support.certificates import communities

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
#: Addresses that lead elsewhere than they seem to, or nowhere.
FOREIGN = (
    "http://192.0.2.7/xds",
    "http://127.0.0.1@evil.example/xds",
    "http://127.0.0.1.evil.example/xds",
    "http://[::ffff:192.0.2.7]/xds",
    "http://2130706433/xds",
    "http://0x7f.1/xds",
    "http://0.0.0.0/xds",
    "http://169.254.169.254/latest/meta-data",
    "file:///etc/passwd",
    "exec:id",
    "http://127.0.0.1:0/",
    "http:///xds",
    "gopher://127.0.0.1/",
)


def settings(**changes: Any) -> ConformanceSettings:
    return ConformanceSettings.load(None, {}, data=Path("var"), **changes)


def wrong(values: dict[str, str], actor: str = "registry", **changes: Any) -> dict[str, str]:
    guide = guide_of(actor)
    assert guide is not None
    with pytest.raises(OrderRefused) as refused:
        ordered(guide, values, settings(**changes))
    return dict(refused.value.wrong)


def order(values: dict[str, str], actor: str = "registry", **changes: Any) -> Any:
    guide = guide_of(actor)
    assert guide is not None
    return ordered(guide, values, settings(**changes))


@pytest.mark.parametrize("host", ["127.0.0.1:8010", "localhost", "[::1]:8010", "127.8.8.8"])
def test_this_machine_may_be_tested(host: str):
    assert order({"registry": f"http://{host}/xds", "domain": DOMAIN}).endpoints == {
        "registry": f"http://{host}/xds"
    }


@pytest.mark.parametrize("address", FOREIGN)
def test_nobody_else_may_be_tested_however_the_address_is_written(address: str):
    for actor, name in (("registry", "registry"), ("consumer", "consumer"), ("imaging-source", "wado")):
        assert list(wrong({name: address, "domain": DOMAIN}, actor)) == [name]


@pytest.mark.parametrize(
    "address", ["192.0.2.7:2575", "2575", ":2575", "127.0.0.1:99999", "a/b:1", "u@127.0.0.1:1"]
)
def test_the_address_of_a_feed_is_judged_alike(address: str):
    values = {"registry": "http://127.0.0.1/xds", "domain": DOMAIN, "feed": address}
    assert list(wrong(values)) == ["feed"]


def test_a_host_that_the_setting_names_may_be_tested():
    values = {"registry": "https://Registry.test.example/xds", "domain": DOMAIN}
    assert order(values, may_test=("registry.test.example",)).endpoints
    assert "XDSI_CONFORMANCE__MAY_TEST" in wrong(values)["registry"]


def test_a_service_that_others_hear_does_not_test_its_own_machine():
    tls = communities()[0].settings()["tls"]
    values = {"registry": "http://127.0.0.1:8010/xds", "domain": DOMAIN}
    assert "registry" in wrong(values, host="0.0.0.0", tls=tls)
    assert order(values, host="0.0.0.0", tls=tls, may_test=("127.0.0.1",)).endpoints


def test_every_mistake_is_told_at_once_in_words():
    values = {"registry": "registry", "domain": "north", "trust": "x", "assertion": "<a/>", "feed": "7"}
    told = wrong(values)
    assert list(told) == ["registry", "feed", "domain", "trust", "assertion"]
    assert "write http://" in told["registry"]
    assert "-----BEGIN CERTIFICATE-----" in told["trust"]
    assert wrong({"registry": "", "domain": DOMAIN}) == {"registry": "is needed"}
    assert wrong({"domain": DOMAIN}, "imaging-source") == {"source": "is needed, or another address"}


def test_a_private_key_is_not_taken():
    key = communities()[0].settings()["tls"]["key"]
    values = {"registry": "http://127.0.0.1/x", "domain": DOMAIN, "trust": Path(key).read_text()}
    assert "private key" in wrong(values)["trust"]


def test_an_option_that_is_not_ticked_is_not_asked_for():
    values = {"registry": "http://127.0.0.1/x", "domain": DOMAIN, "remove_metadata": "yes"}
    assert order(values).without == ("Metadata Update",)


def test_a_consumer_without_address_is_driven_by_a_person():
    assert order({"domain": DOMAIN}, "consumer").endpoints == {"consumer": "person"}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.actor)
def test_every_guide_has_probes_and_asks_for_what_they_need(guide: Any):
    boxes = {box.name for box in guide.boxes}
    probes = list(probes_of(Order(actor=guide.actor, domain=DOMAIN)))
    assert len(probes) > 40
    assert {name for probe in probes for name in probe.needs} <= boxes
    assert {probe.option for probe in probes} - {""} <= set(guide.options.values())
