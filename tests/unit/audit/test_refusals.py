"""What strangers cause is counted: a record at once, and one a minute for all that follows."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from shared.audit.recorder import messages
from shared.audit.refusals import MOST, USERS, Refusals
from shared.audit.spool import AuditUnavailable
from shared.faults import SecurityFault
from tests.support.audit import NODE, SOURCE


class Kept(list):
    full = False

    async def record(self, events):
        if self.full:
            raise AuditUnavailable("full")
        self.extend(events)

    def told(self):
        return [event.outcome_description for event in self]


def refused(claimed="", *, name="FailedAuthentication", known=False):
    fault = SecurityFault(name, "a detail", claimed=claimed)
    fault.of_a_known_node = known
    return fault


async def test_the_first_refusal_is_recorded_at_once_and_the_rest_together():
    kept = Kept()
    refusals = Refusals(kept.record)

    for _ in range(1_000):
        await refusals.node("192.0.2.1", "no certificate")
    assert kept.told() == ["no certificate"]
    await refusals.close()

    assert len(kept) == 2
    assert kept.told()[1].startswith("999 more refusals since ")
    assert kept.told()[1].endswith(": no certificate (999)")
    assert {event.objects[0].object_id for event in kept} == {"192.0.2.1"}


async def test_when_the_minute_is_over_the_number_is_recorded_and_the_next_refusal_at_once():
    kept = Kept()
    refusals = Refusals(kept.record, seconds=0.01)
    for _ in range(3):
        await refusals.node("192.0.2.1", "no certificate")
    while len(kept) < 2:  # noqa: ASYNC110  # the minute's end is another task's
        await asyncio.sleep(0.005)
    await refusals.node("192.0.2.1", "no certificate")
    assert len(kept) == 3
    await refusals.close()
    assert len(kept) == 3


async def test_each_address_and_each_kind_of_refusal_is_counted_apart():
    kept = Kept()
    refusals = Refusals(kept.record)
    for _ in range(5):
        await refusals.node("192.0.2.1", "no certificate")
        await refusals.node("192.0.2.2", "unknown issuer")
        await refusals.user(refused(), NODE, transaction="ITI-18")
    of_the_user = "FailedAuthentication (ITI-18): a detail"
    assert kept.told() == ["no certificate", "unknown issuer", of_the_user]
    await refusals.close()
    assert [told.partition(" ")[0] for told in kept.told()[3:]] == ["4", "4", "4"]


async def test_addresses_of_one_network_of_ipv6_are_one():
    kept = Kept()
    refusals = Refusals(kept.record)
    for host in range(50):
        await refusals.node(f"2001:db8::{host:x}", "no certificate")
    await refusals.close()
    assert len(kept) == 2


@pytest.mark.parametrize("addresses", [MOST - 1, MOST, MOST + 1, 100 * MOST])
async def test_however_many_addresses_come_memory_and_trail_are_bounded(addresses):
    kept = Kept()
    refusals = Refusals(kept.record)
    for number in range(addresses):
        for _ in range(2):
            await refusals.node(f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}", "no certificate")
    assert len(refusals._counted) <= MOST + 1
    assert len(kept) == min(addresses, MOST + 1)
    await refusals.close()
    counted = sum(int(told.partition(" ")[0]) for told in kept.told() if "more refusals" in told)
    assert len(kept) <= 2 * MOST + 2
    assert counted + min(addresses, MOST + 1) == 2 * addresses


async def test_a_user_that_a_known_node_names_is_counted_alone():
    kept = Kept()
    refusals = Refusals(kept.record)
    for name in ("a<ann@idp>", "b<bob@idp>", "a<ann@idp>"):
        await refusals.user(refused(name, known=True), NODE)
    assert [event.participants[0].user_id for event in kept] == ["a<ann@idp>", "b<bob@idp>"]
    await refusals.close()
    assert kept[2].participants[0].user_id == "a<ann@idp>"


async def test_whom_a_stranger_claims_to_be_makes_no_record_of_its_own_and_is_told():
    kept = Kept()
    refusals = Refusals(kept.record)
    for number in range(500):
        await refusals.user(refused(f"user{number}<x@y>"), NODE)
    assert [event.participants[0].user_id for event in kept] == ["user0<x@y>"]
    await refusals.close()
    assert len(kept) == 2
    assert kept[1].participants[0].user_id == NODE.subject
    assert "claimed were user1<x@y>, user2<x@y>" in kept[1].outcome_description


async def test_a_known_node_that_names_user_after_user_is_bounded_too():
    kept = Kept()
    refusals = Refusals(kept.record)
    for number in range(50 * USERS):
        await refusals.user(refused(f"user{number}", known=True), NODE)
    await refusals.close()
    assert len(kept) <= USERS + 2


async def test_what_cannot_be_recorded_is_refused_and_stays_counted():
    kept = Kept()
    refusals = Refusals(kept.record)
    kept.full = True
    with pytest.raises(AuditUnavailable):
        await refusals.node("192.0.2.1", "no certificate")
    kept.full = False
    for _ in range(4):
        await refusals.node("192.0.2.1", "no certificate")
    kept.full = True
    await refusals.settle()
    kept.full = False
    await refusals.close()
    assert kept.told()[0] == "no certificate"
    assert kept.told()[1].startswith("3 more refusals")
    assert len(kept) == 2


async def test_a_record_of_refusals_is_small_whatever_they_said():
    kept = Kept()
    refusals = Refusals(kept.record)
    for number in range(100):
        fault = refused("c" * 100_000 + str(number), name="n" * 100_000 + str(number))
        await refusals.user(fault, replace(NODE, subject="s" * 100_000))
    await refusals.close()
    assert len(kept) == 2
    assert max(len(octets) for event in kept for octets in messages(event, SOURCE)) < 6_000
