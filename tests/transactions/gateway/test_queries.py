"""ITI-18 at the Initiating and ITI-38 at the Responding Gateway (ITI TF-2 3.18.4.1.3, 3.38.4.1.3)."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from lxml import etree

from shared.audit.events import QUERY
from shared.errors import Actor, RegistryNotAvailable, Severity, TooManyResults, XdsError
from shared.faults import ActionFault, SoapFault
from shared.http.client import http_client
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest
from shared.messages.iti38 import ITI38
from shared.messages.registry import Status
from shared.settings import TlsSettings
from shared.telemetry.trace import one_trace, trace_id
from tests.support.community import envelope_in, post
from tests.support.gateway import (
    EAST,
    GET_DOCUMENTS,
    NORTH,
    PATIENT,
    WEST,
    World,
    a_fragment,
    a_query,
    actors,
    world,
)
from tests.support.http_server import until
from tests.support.logs import answered, log_lines

RIM = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"


def homes(response) -> dict[str, str]:
    return {entry.unique_id: entry.home_community_id for entry in response.objects.document_entries}


def codes(response) -> list[tuple[str, str]]:
    return [(error.code_for(Actor.REGISTRY), error.location) for error in response.errors]


async def test_a_query_about_a_patient_goes_to_our_own_registry_and_to_every_community(two: World):
    two.east.fragments = [a_fragment("1.1")]
    two.west.fragments = [a_fragment("2.1"), a_fragment("2.2")]

    response = await two.query()

    assert response.status is Status.SUCCESS
    assert homes(response) == {"1.1": EAST, "2.1": WEST, "2.2": WEST}
    assert [entry.unique_id for entry in response.objects.document_entries] == ["1.1", "2.1", "2.2"]
    assert [asked.home for asked in two.east.asked + two.west.asked] == ["", ""]


async def test_a_query_is_one_trace_in_every_community(two: World):
    two.east.fragments = [a_fragment("1.1")]
    with log_lines("gateway") as lines, one_trace():
        await two.query()
        trace = trace_id()
        await until(lambda: len(answered(lines)) >= 4)

    of_trace = [line for line in answered(lines) if line["trace_id"] == trace]
    assert {line["transaction"] for line in of_trace} == {"ITI-18", "ITI-38"}
    assert len(of_trace) == len(answered(lines))
    assert {line["outcome"] for line in of_trace} == {"success"}
    assert PATIENT not in repr(lines())


@pytest.mark.parametrize("number", [1_001, 100_000])
async def test_a_query_of_too_many_values_is_refused_before_anybody_is_asked(two: World, number: int):
    query = a_query(XDSDocumentEntryClassCode=tuple(f"{each}^^1.2" for each in range(number)))

    for transaction, url in (
        (ITI18, two.initiating.initiating),
        (ITI38, two.responding.responding),
    ):
        response = await two.client.call(transaction, url, query)
        assert codes(response) == [("XDSStoredQueryParamNumber", "")]

    assert two.east.asked == two.west.asked == []
    assert ("ITI-18", "E", 8) in two.initiating.told()
    assert ("ITI-38", "E", 8) in two.responding.told()
    assert codes(await two.query(home=WEST, XDSDocumentEntryClassCode=("1^^1.2",) * 1_000)) == []


@pytest.mark.parametrize(("home", "found"), [(EAST, "1.1"), (WEST, "2.1")])
async def test_with_a_home_it_goes_there_alone(two: World, home: str, found: str):
    two.east.fragments, two.west.fragments = [a_fragment("1.1")], [a_fragment("2.1")]

    for query in (two.query(home=home), two.query(GET_DOCUMENTS, home=home, XDSDocumentEntryUniqueId=("1",))):
        assert homes(await query) == {found: home}

    assert len(two.east.asked) == (2 if home == EAST else 0)
    assert len(two.west.asked) == (2 if home == WEST else 0)


async def test_without_patient_a_home_is_needed(two: World):
    response = await two.query(GET_DOCUMENTS, XDSDocumentEntryUniqueId=("2.1",))

    assert response.status is Status.FAILURE
    assert codes(response) == [("XDSMissingHomeCommunityId", "")]
    assert two.east.asked == two.west.asked == []


async def test_a_home_that_nobody_has_is_an_unknown_community(two: World):
    response = await two.query(home=NORTH)

    assert codes(response) == [("XDSUnknownCommunity", "")]
    assert two.east.asked == two.west.asked == []


async def test_objects_pass_as_they_came_but_for_their_home(two: World):
    fragment = a_fragment("2.1").replace(
        b"<rim:Slot", b'<rim:Slot name="urn:their:own"><rim:ValueList/></rim:Slot><rim:Slot', 1
    )
    two.west.fragments = [
        fragment,
        b'<rim:ObjectRef id="urn:uuid:5"/>',
        b'<rim:Association id="urn:uuid:6" home="urn:oid:9.9" sourceObject="a" targetObject="b"'
        b' associationType="urn:ihe:iti:2007:AssociationType:RPLC"/>',
    ]
    async with http_client(TlsSettings(), peers=(two.initiating.url,)) as http:
        envelope = envelope_in(await post(http, ITI18, two.initiating.initiating, a_query(home=WEST)))

    (listed,) = envelope.iter(f"{RIM}RegistryObjectList")
    assert [(child.tag, child.get("home")) for child in listed] == [
        (f"{RIM}ExtrinsicObject", WEST),
        (f"{RIM}ObjectRef", WEST),
        (f"{RIM}Association", WEST),
    ]
    sent, came = etree.fromstring(fragment.replace(b" ", f' xmlns:rim="{RIM[1:-1]}" '.encode(), 1)), listed[0]
    del came.attrib["home"]
    assert etree.tostring(came, method="c14n2") == etree.tostring(sent, method="c14n2")


async def test_objects_of_another_community_without_home_are_left_out_with_an_error(tmp_path: Path):
    async with actors(tmp_path / "north") as north:
        north.fragments = [a_fragment("3.1"), a_fragment("3.2", home_community_id=NORTH)]
        async with world(tmp_path, east={"communities": {NORTH: north.url}}) as two:
            response = await two.query(home=NORTH)

    assert homes(response) == {"3.2": NORTH}
    (error,) = response.errors
    assert (error.code_for(Actor.REGISTRY), error.location) == ("XDSMissingHomeCommunityId", NORTH)
    assert NORTH in error.context
    assert "ExtrinsicObject" in error.context
    assert response.status is Status.PARTIAL_SUCCESS


async def test_errors_of_a_community_are_located_there_beside_the_results_of_others(two: World):
    two.east.fragments = [a_fragment("1.1")]
    two.west.query_errors = (TooManyResults("more than 1,000", location="urn:uuid:7"),)

    response = await two.query()

    assert response.status is Status.PARTIAL_SUCCESS
    assert homes(response) == {"1.1": EAST}
    (error,) = response.errors
    assert (error.code_for(Actor.REGISTRY), error.location) == ("XDSTooManyResults", WEST)
    assert "urn:uuid:7" in error.context


async def test_a_community_that_is_down_is_named_beside_the_results_of_others(tmp_path: Path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/xca/responding"
        async with world(tmp_path) as first:
            communities = {WEST: first.responding.responding, NORTH: url}
        async with world(tmp_path / "again", east={"communities": communities}) as two:
            two.east.fragments = [a_fragment("1.1")]
            response = await two.query()

    assert response.status is Status.PARTIAL_SUCCESS
    assert homes(response) == {"1.1": EAST}
    assert codes(response) == [("XDSUnavailableCommunity", WEST), ("XDSUnavailableCommunity", NORTH)]


async def test_a_community_without_an_address_for_queries_is_named_beside_the_others(
    tmp_path: Path,
):
    addresses = {"communities": {WEST: {"ITI-39": "http://127.0.0.1:9/xca/responding"}}}
    async with world(tmp_path, east=addresses) as two:
        two.east.fragments = [a_fragment("1.1")]
        response = await two.query()
        assert homes(response) == {"1.1": EAST}
        assert codes(response) == [("XDSUnavailableCommunity", WEST)]


async def test_a_community_that_says_nothing_is_waited_for_as_long_as_set_and_no_longer(tmp_path: Path):
    async with asyncio.timeout(10):
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", 0))
            mute.listen()
            url = f"http://127.0.0.1:{mute.getsockname()[1]}/xca/responding"
            changes = {"communities": {NORTH: url}, "answer_seconds": 0.3}
            async with world(tmp_path, east=changes) as two:
                two.east.fragments = [a_fragment("1.1")]
                response = await two.query()

    assert homes(response) == {"1.1": EAST}
    assert codes(response) == [("XDSUnavailableCommunity", NORTH)]


async def test_a_registry_that_is_down_is_an_error_and_no_empty_answer(two: World):
    two.west.raises = RegistryNotAvailable("not now")
    two.east.raises = XdsError("broken")

    response = await two.query()

    assert response.status is Status.FAILURE
    assert codes(response) == [("XDSRegistryError", ""), ("XDSRegistryNotAvailable", WEST)]


async def test_the_patient_is_asked_for_under_the_id_that_is_linked(tmp_path: Path):
    links = tmp_path / "links.csv"
    links.write_text(f"patient_id,home_community_id,their_patient_id\n{PATIENT},{WEST},X-9^^^&2.999.88&ISO\n")
    async with world(tmp_path, east={"patient_links": links}) as two:
        await two.query()
        assert two.east.asked[0].parameters["$XDSDocumentEntryPatientId"] == ((f"'{PATIENT}'",),)
        assert two.west.asked[0].parameters["$XDSDocumentEntryPatientId"] == (("'X-9^^^&2.999.88&ISO'",),)

        links.write_text(
            f"patient_id,home_community_id,their_patient_id\n{PATIENT},{WEST},X-10^^^&2.999.88&ISO\n"
        )
        await two.query(home=WEST)
        assert two.west.asked[1].parameters["$XDSDocumentEntryPatientId"] == (("'X-10^^^&2.999.88&ISO'",),)

        links.write_text("patient_id,home\n")
        await two.query(home=WEST)
        assert two.west.asked[2].parameters == two.west.asked[1].parameters
        with pytest.raises(ValueError, match="first line"):
            await two.initiating.parts.links.check()


async def test_a_responding_gateway_takes_its_own_home_alone(two: World):
    two.west.fragments = [a_fragment("2.1")]

    async def ask(request: StoredQueryRequest):
        return await two.client.call(ITI38, two.responding.responding, request)

    assert homes(await ask(a_query())) == {"2.1": WEST}
    assert homes(await ask(a_query(home=WEST))) == {"2.1": WEST}
    assert codes(await ask(a_query(home=EAST))) == [("XDSUnknownCommunity", WEST)]
    missing = a_query(GET_DOCUMENTS, XDSDocumentEntryUniqueId=("2.1",))
    assert codes(await ask(missing)) == [("XDSMissingHomeCommunityId", WEST)]
    assert len(two.west.asked) == 2


async def test_a_return_type_that_xds_does_not_have_is_refused_before_anybody_is_asked(two: World):
    request = StoredQueryRequest(
        query_id=GET_DOCUMENTS, return_type=ReturnType.UNKNOWN, parameters={}, home=WEST
    )

    response = await two.client.call(ITI18, two.initiating.initiating, request)

    assert [error.severity for error in response.errors] == [Severity.ERROR]
    assert "LeafClass" in response.errors[0].context
    assert two.west.asked == []


async def test_each_endpoint_serves_its_own_transactions_alone(two: World):
    for transaction, url in (
        (ITI38, two.initiating.initiating),
        (ITI18, two.responding.responding),
    ):
        with pytest.raises(SoapFault) as caught:
            await two.client.call(transaction, url, a_query())
        assert caught.value.subcode[1] == ActionFault("ActionNotSupported", "").subcode[1]


async def test_everything_that_was_asked_and_is_asked_on_is_recorded(two: World):
    two.east.fragments, two.west.query_errors = [a_fragment("1.1")], (XdsError("broken"),)

    await two.query()

    assert sorted(two.initiating.told()) == [
        ("ITI-18", "E", 0),  # asked our own registry
        ("ITI-18", "E", 8),  # was asked; the answer has an error
        ("ITI-38", "E", 8),  # asked the West
    ]
    assert sorted(two.responding.told()) == [("ITI-18", "E", 8), ("ITI-38", "E", 8)]
    events = [event for event in two.initiating.recorder.events if event.event_id == QUERY]
    assert {event.objects[0].object_id for event in events} == {PATIENT}
    across = next(event for event in events if event.event_types[0].code == "ITI-38")
    assert dict(across.objects[1].details)["urn:ihe:iti:xca:2010:homeCommunityId"] == WEST.encode()
    assert WEST.encode() in across.objects[1].query
