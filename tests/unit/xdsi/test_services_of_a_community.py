"""Which services `xdsi up` starts."""

from __future__ import annotations

from pathlib import Path

from xdsi.community import ORDER, Addresses, environment, services_of
from xdsi.services import COMMUNITY, Service


def test_they_are_those_of_every_community():
    assert services_of({}) == ORDER
    assert set(ORDER) == set(COMMUNITY)


def test_the_identity_service_is_among_them_where_a_provider_is_named():
    assert services_of({"XDSI_IDENTITY__PROVIDERS": "{}"}) == (*ORDER, Service.IDENTITY)
    assert services_of({"XDSI_IDENTITY__PROVIDERS": ""}) == ORDER


def test_every_port_moves_by_the_offset_that_of_the_department_too():
    moved, at_home = (environment(Addresses(offset=offset), Path("/data")) for offset in (1000, 0))
    ports = [name for name in at_home if name.endswith("PORT")]

    assert {name: int(moved[name]) - int(at_home[name]) for name in ports} == dict.fromkeys(ports, 1000)
    assert at_home["XDSI_IMAGING_SOURCE__HL7_PORT"] == "2577"
