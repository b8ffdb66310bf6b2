"""Settings that a gateway refuses to start with, each with its remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from shared.settings import SettingsError

WEST = "urn:oid:2.999.2"


def load(**environ: str) -> GatewaySettings:
    return GatewaySettings.load(environ={f"XDSI_{name}": value for name, value in environ.items()})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"HOME_COMMUNITY_ID": "2.999.1"}, "XDSI_HOME_COMMUNITY_ID: '2.999.1' is no homeCommunityId"),
        ({"HOME_COMMUNITY_ID": "urn:oid:" + "2." * 40 + "1"}, "XDSI_HOME_COMMUNITY_ID"),
        ({"COMMUNITIES": json.dumps({"west": "https://west.example/"})}, "XDSI_COMMUNITIES: 'west' is no"),
        (
            {"HOME_COMMUNITY_ID": WEST, "COMMUNITIES": json.dumps({WEST: "https://west.example/"})},
            "XDSI_COMMUNITIES: names our own homeCommunityId",
        ),
        (
            {"COMMUNITIES": json.dumps({WEST: {"ITI-43": "https://west.example/"}})},
            "XDSI_COMMUNITIES: .* has an address for ITI-43; ITI-38, ITI-39, RAD-75 would be right",
        ),
        ({"COMMUNITY_GATEWAYS": json.dumps({WEST: "CN=west"})}, "XDSI_COMMUNITY_GATEWAYS: .* with TLS"),
        ({"PATIENT_LINKS": "/nowhere/links.csv"}, "XDSI_PATIENT_LINKS: .* is not a file"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(given: dict[str, str], said: str):
    with pytest.raises(SettingsError, match=said):
        load(**given)


def test_every_address_that_may_be_asked_is_configured_and_no_other():
    settings = load(
        COMMUNITIES=json.dumps({WEST: "https://west.example/xca/responding"}),
        REPOSITORIES=json.dumps({"1.2": "http://127.0.0.1:1/r"}),
        IMAGING_SOURCES=json.dumps({"1.3": "http://127.0.0.1:2/s"}),
    )

    assert {"https://west.example/xca/responding", "http://127.0.0.1:1/r", "http://127.0.0.1:2/s"} <= set(
        settings.peers
    )
    assert settings.repository_endpoint("1.2") == "http://127.0.0.1:1/r"
    assert settings.repository_endpoint("9.9") == settings.repository_url
    assert settings.imaging_source_endpoint("1.3") == "http://127.0.0.1:2/s"
    assert Path("var") == settings.data


def test_a_community_may_have_an_address_for_each_transaction():
    urls = {number: f"https://{number.lower()}.west.example/" for number in ("ITI-38", "ITI-39", "RAD-75")}
    settings = load(COMMUNITIES=json.dumps({WEST: urls, "urn:oid:2.999.3": "https://south.example/"}))

    assert settings.gateways[WEST] == urls
    assert settings.gateways["urn:oid:2.999.3"] == dict.fromkeys(urls, "https://south.example/")
    assert set(urls.values()) < set(settings.peers)
