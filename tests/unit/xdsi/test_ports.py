"""`xdsi up --offset` moves a community as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdsi.community import PORTS, Addresses, environment
from xdsi.services import COMMUNITY, Service


def ports_of(service: Service) -> dict[str, int]:
    """Every port that a service may listen on, by the variable that sets it, and its default."""
    settings = service.settings_class()
    return {
        f"XDSI_{service.package.upper()}__{name.upper()}": field.default
        for name, field in settings.model_fields.items()
        if (name == "port" or name.endswith("_port")) and field.default
    }


@pytest.mark.parametrize("service", COMMUNITY)
def test_every_port_of_a_service_is_moved(service: Service):
    made = environment(Addresses(offset=1000), Path("var"))
    assert {name: int(made[name]) for name in ports_of(service)} == {
        name: port + 1000 for name, port in ports_of(service).items()
    }


def test_no_two_services_share_a_port():
    assert len(set(PORTS.values())) == len(PORTS)
