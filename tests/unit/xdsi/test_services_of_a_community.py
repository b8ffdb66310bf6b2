"""Which services `xdsi up` starts."""

from __future__ import annotations

from xdsi.community import ORDER, services_of
from xdsi.services import COMMUNITY, Service


def test_they_are_those_of_every_community():
    assert services_of({}) == ORDER
    assert set(ORDER) == set(COMMUNITY)


def test_the_identity_service_is_among_them_where_a_provider_is_named():
    assert services_of({"XDSI_IDENTITY__PROVIDERS": "{}"}) == (*ORDER, Service.IDENTITY)
    assert services_of({"XDSI_IDENTITY__PROVIDERS": ""}) == ORDER
