"""An assertion for one use is used once: over services, processes, restarts and whoever asks at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx2
import pytest
from sqlalchemy import select

from registry.store import assertions
from registry.store.assertions import UsedAssertions
from registry.store.tables import used_assertion
from registry.transactions import SERVED_REST
from registry.unit import Unit
from shared.faults import WSSE, SecurityFault
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.security.once import AtRegistry, Nowhere, key_of, open_once
from shared.settings import ServiceSettings
from tests.support.certificates import assertion_for, bearer, communities
from tests.support.rest import rest_app

NORTH, _ = communities()
URL = "http://127.0.0.1:8010"
LATER = timedelta(minutes=5)
MIGRATIONS = "registry.store:migrations"


def at(registry, address="127.0.0.1"):
    """A client of the registry's own interface, at this address."""
    parts = registry.parts
    app = rest_app(SERVED_REST, unit=partial(Unit, parts), recorder=parts.recorder, settings=parts.settings)
    transport = httpx2.ASGITransport(app, client=(address, 1))
    return httpx2.AsyncClient(transport=transport, base_url=URL, trust_env=False)


def a_service(once):
    settings = ServiceSettings.model_validate(
        {"assertion": {"issuers": {NORTH.issuer: NORTH.provider.certificate}}}
    )
    return Authenticator(settings, once=once)


async def answered(service, assertion):
    """The user whom a service sees, or the fault with which it refuses."""
    came = {"endpoint": "http://127.0.0.1:8020/xds/repository", "speaker_is_user": True}
    try:
        node = Node(address="127.0.0.1")
        return (await service.caller(node, door="ITI-43", bearer=bearer(assertion), **came)).user
    except SecurityFault as fault:
        return fault


async def taken(service, assertion):
    """Whether a service takes the assertion; one that does not says whose it was, for the trail."""
    answer = await answered(service, assertion)
    if isinstance(answer, SecurityFault):
        assert answer.subcode == (WSSE, "InvalidSecurityToken")
        assert "u-778" in answer.claimed
        return False
    return answer.name_id == "u-778"


async def test_what_one_service_took_no_other_takes(registry):
    async with at(registry) as http:
        the_registry = a_service(UsedAssertions(registry.parts.database))
        repository, source = a_service(AtRegistry(http, URL)), a_service(AtRegistry(http, URL))
        for first, *others in (
            (the_registry, repository, source),
            (repository, source, the_registry, repository),
        ):
            assertion = assertion_for("u-778", one_time_use=True)
            assert await taken(first, assertion)
            assert [await taken(each, assertion) for each in others] == [False] * len(others)
        assertion = assertion_for("u-778")
        assert all([await taken(each, assertion) for each in (the_registry, repository, source) * 2])


async def test_of_many_who_use_it_at_once_one_does(registry):
    async with at(registry) as http:
        services = [a_service(UsedAssertions(registry.parts.database)), a_service(AtRegistry(http, URL))] * 5
        assertion = assertion_for("u-778", one_time_use=True)
        assert sum(await asyncio.gather(*(taken(each, assertion) for each in services))) == 1


async def test_it_stays_used_over_a_restart(database_place):
    assertion = assertion_for("u-778", one_time_use=True)
    outcomes = []
    for _ in range(2):
        database = await database_place.open(MIGRATIONS)
        outcomes.append(await taken(a_service(UsedAssertions(database)), assertion))
        await database.close()
    assert outcomes == [True, False]


async def test_what_expired_is_forgotten_and_too_many_are_refused(registry, monkeypatch):
    monkeypatch.setattr(assertions, "MOST_KEPT", 2)
    used, now = UsedAssertions(registry.parts.database), datetime.now(UTC)
    assert await used.use("a" * 64, now - LATER)
    assert await used.use("b" * 64, now + LATER)
    assert await used.use("c" * 64, now + LATER)
    with pytest.raises(SecurityFault):
        await used.use("d" * 64, now + LATER)
    kept = await registry.parts.database.fetch(select(used_assertion.c.key))
    assert {key[0] for (key,) in kept} == {"b", "c"}


async def test_where_it_cannot_be_asked_none_is_taken(registry):
    gone = httpx2.AsyncClient(trust_env=False)
    once, many = assertion_for("u-778", one_time_use=True), assertion_for("u-778")
    strangers = at(registry, "192.0.2.9")
    for place in (Nowhere(), AtRegistry(gone, "http://127.0.0.1:1"), AtRegistry(strangers, URL)):
        assert not await taken(a_service(place), once)
        assert await taken(a_service(place), many)
    await gone.aclose()


async def test_beside_a_registry_of_another_vendor_there_is_no_place():
    async with httpx2.AsyncClient(trust_env=False) as http:
        for source in ("none", "policies"):
            settings = ServiceSettings.model_validate({"consent": {"source": source}})
            assert isinstance(open_once(settings, http), Nowhere)


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"key": "x", "until": "2030-01-01T00:00:00Z"},
        {"key": "a" * 64},
        {"key": "a" * 64, "until": "soon"},
        {"key": ["a" * 64], "until": "2030-01-01T00:00:00Z"},
    ],
)
async def test_what_is_no_question_about_a_use_is_refused(registry, content):
    async with at(registry) as http:
        assert (await http.post("/assertions/use", json=content)).status_code == 400


async def test_what_is_kept_names_nobody_and_ends_within_a_day(registry):
    key = key_of(NORTH.issuer, "_1")
    async with at(registry) as http:
        answer = await http.post("/assertions/use", json={"key": key, "until": "2999-01-01T00:00:00Z"})
    assert answer.json() == {"first": True}
    ((kept, until),) = await registry.parts.database.fetch(
        select(used_assertion.c.key, used_assertion.c.until)
    )
    assert kept == key
    assert datetime.fromisoformat(until) < datetime.now(UTC) + timedelta(days=1, minutes=1)
