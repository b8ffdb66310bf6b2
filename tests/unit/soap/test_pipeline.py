"""The way of one request: every step, every fault with its code and status, nothing served unrecorded."""

from __future__ import annotations

import asyncio
import errno
import gc
import re
import weakref
from dataclasses import replace

import pytest

from shared.audit.events import USER_AUTHENTICATION, Outcome
from shared.audit.recorder import AuditUnavailable
from shared.errors import (
    Actor,
    DocumentUniqueIdError,
    ExtraMetadataNotSaved,
    MetadataError,
    UnknownPatientId,
    XdsError,
)
from shared.faults import SecurityFault, SenderFault
from shared.http.raw_asgi import ClientGone, FileRange
from shared.settings import ServiceSettings
from shared.soap.envelope import MAX_MESSAGE_ID
from shared.soap.mtom import include
from shared.soap.pipeline import InternalError, SoapLimits, SoapService, perform
from shared.soap.served import Served
from shared.soap.spooling import Sink
from shared.xml import PRESCAN_BYTES
from tests.support.soap_exchange import (
    ECHO,
    MESSAGE_ID,
    MTOM,
    SOAP,
    Documents,
    Doorkeeper,
    Echo,
    Recorder,
    a_house,
    a_keep,
    a_package,
    a_part,
    a_root,
    a_unit,
    an_echo,
    an_envelope,
    describe,
    post,
    refusing,
)


@pytest.fixture
def house(tmp_path):
    return a_house(tmp_path)


def outcomes(house) -> list[Outcome]:
    return [event.outcome for event in house.recorder.events]


# --- the good way -------------------------------------------------------------------------------------


async def test_a_simple_request_is_answered_and_recorded(house):
    answer = await post(house.service, an_echo("hällo"))

    assert answer.status == 200
    assert answer.headers["content-type"] == "application/soap+xml; charset=UTF-8"
    assert int(answer.headers["content-length"]) == len(answer.body)
    assert answer.header("Action") == ECHO.response_action
    assert answer.header("RelatesTo") == MESSAGE_ID
    assert answer.xml.findtext(".//{urn:echo}EchoResponse") == "hällo"
    assert outcomes(house) == [Outcome.SUCCESS]


async def test_an_mtom_request_is_answered_in_mtom_with_the_same_documents(house):
    message = a_package(
        a_root(a_keep(include("a b@x"), "AAEC", include("gone@x"))),
        a_part(b"\r\nbinary\r\n", "Content-ID: <a b@x>"),
        a_part(b"unasked", "Content-ID: <other>"),
    )

    answer = await post(house.service, [message[:50], message[50:90], message[90:]], MTOM)

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("multipart/related")
    assert house.keeper.kept == [b"\r\nbinary\r\n", b"\x00\x01\x02", None]
    assert b"\r\n\r\n\r\nbinary\r\n\r\n--" in answer.body
    assert house.left_behind() == []


async def test_a_document_that_was_moved_away_stays(tmp_path):
    target = tmp_path / "kept"

    async def handle(unit, request):
        request.documents[0].path.rename(target)
        return Documents()

    house = a_house(tmp_path, handle_keep=handle)
    await post(house.service, a_package(a_root(a_keep("AAEC"))), MTOM)

    assert target.read_bytes() == b"\x00\x01\x02"
    assert house.left_behind() == []


async def test_a_large_message_is_answered_like_a_small_one(house):
    words = "x" * (PRESCAN_BYTES + 1)

    answer = await post(house.service, an_echo(words))

    assert answer.xml.findtext(".//{urn:echo}EchoResponse") == words


async def test_the_authenticator_is_shown_header_node_and_message_id(house):
    security = (
        '<w:Security xmlns:w="http://docs.oasis-open.org/wss/2004/01/'
        'oasis-200401-wss-wssecurity-secext-1.0.xsd" s:mustUnderstand="1"><x/></w:Security>'
    )
    await post(house.service, an_echo(headers=security))

    (seen,) = house.doorkeeper.seen
    assert seen["security_header"][0].tag == "x"
    assert seen["node"].address == "127.0.0.1"
    assert seen["speaker_is_user"] is True


@pytest.mark.parametrize(
    ("settings", "server", "endpoint"),
    [
        (ServiceSettings(), ("127.0.0.1", 8010), "http://127.0.0.1:8010/xds/test"),
        (ServiceSettings(port=1), ("::1", 8010), "http://[::1]:8010/xds/test"),
        (
            ServiceSettings(public_url="https://hie.example/"),
            ("127.0.0.1", 8010),
            "https://hie.example/xds/test",
        ),
    ],
)
@pytest.mark.parametrize("host", [b"evil.example", b"localhost:8010", b'"><evil', b""])
async def test_the_endpoint_is_the_public_one_or_where_the_socket_is_whatever_host_is_named(
    tmp_path, settings, server, endpoint, host
):
    callers = []

    async def handle(unit, request):
        callers.append(unit.caller)
        return Echo("")

    house = a_house(tmp_path, handle_echo=handle, settings=settings)
    await post(house.service, an_echo(), headers=[(b"host", host)], query=b"secret=1", server=server)

    assert [caller.endpoint for caller in callers] == [endpoint]
    assert [caller.message_id for caller in callers] == [MESSAGE_ID]


# --- faults -------------------------------------------------------------------------------------------

ELSEWHERE = "<a:ReplyTo><a:Address>http://evil.example/</a:Address></a:ReplyTo>"
MTOM_ECHO = a_package(a_root(an_echo()))


@pytest.mark.parametrize(
    ("message", "content_type", "status", "codes", "says"),
    [
        (b"", "", 400, ("Sender",), "Content-Type"),
        (an_echo(), "text/plain", 400, ("Sender",), "application/soap"),
        (an_echo(), "text/xml", 400, ("Sender",), "application/soap"),
        (
            an_echo(soap="http://schemas.xmlsoap.org/soap/envelope/"),
            "text/xml; charset=utf-8",
            500,
            ("VersionMismatch",),
            "SOAP 1.2",
        ),
        (b"<x", SOAP, 400, ("Sender",), "well-formed"),
        (b"<!DOCTYPE x><x/>", SOAP, 400, ("Sender",), "document type"),
        (b"<a>" * 200 + b"</a>" * 200, SOAP, 400, ("Sender",), "100 levels"),
        (b"<x/>", SOAP, 400, ("Sender",), "envelope"),
        (an_echo(action=""), SOAP, 400, ("Sender", "MessageAddressingHeaderRequired"), "wsa:Action"),
        (an_echo(message_id=""), SOAP, 400, ("Sender", "MessageAddressingHeaderRequired"), "MessageID"),
        (an_echo(action="urn:other"), SOAP, 400, ("Sender", "ActionNotSupported"), "urn:echo:Echo"),
        (
            an_echo(headers=ELSEWHERE),
            SOAP,
            400,
            ("Sender", "InvalidAddressingHeader", "OnlyAnonymousAddressSupported"),
            "anonymous",
        ),
        (
            an_echo(),
            'application/soap+xml; action="urn:echo:Other"',
            400,
            ("Sender", "InvalidAddressingHeader", "ActionMismatch"),
            "same",
        ),
        (an_echo(headers='<x:O xmlns:x="u" s:mustUnderstand="1"/>'), SOAP, 500, ("MustUnderstand",), "{u}O"),
        (MTOM_ECHO, MTOM, 400, ("Sender",), "SIMPLE"),
        (a_keep("AAEC"), SOAP, 400, ("Sender",), "MTOM"),
        (an_envelope("<other/>"), SOAP, 400, ("Sender",), "{urn:echo}Echo"),
        (an_envelope(""), SOAP, 400, ("Sender",), "{urn:echo}Echo"),
        (a_package(a_root(a_keep("!"))), MTOM, 400, ("Sender",), "base64|multiple"),
        (a_package(a_root(a_keep("AAEC")))[:-20], MTOM, 400, ("Sender",), "truncated"),
        (b"", 'multipart/related; type="application/xop+xml"', 400, ("Sender",), "boundary"),
        (b"<a>" * 200_000, SOAP, 400, ("Sender",), "100 levels"),
    ],
)
async def test_what_does_not_reach_its_semantics_is_a_fault(
    house, message, content_type, status, codes, says
):
    answer = await post(house.service, message, content_type)

    assert (answer.status, answer.fault) == (status, codes)
    assert re.search(says, answer.reason)
    assert house.left_behind() == []
    assert (await post(house.service, an_echo())).status == 200


async def test_a_fault_relates_to_its_request_and_comes_in_its_encoding(house):
    simple = await post(house.service, an_echo(action="urn:other"))
    mtom = await post(house.service, a_package(a_root(a_keep(action="urn:other"))), MTOM)

    assert simple.header("RelatesTo") == mtom.header("RelatesTo") == MESSAGE_ID
    assert simple.headers["content-type"].startswith("application/soap+xml")
    assert mtom.headers["content-type"].startswith("multipart/related")


async def test_a_compressed_message_is_refused(house):
    answer = await post(house.service, an_echo(), headers=[(b"content-encoding", b"gzip")])

    assert (answer.status, answer.fault) == (415, ("Sender",))


async def test_what_is_too_large_is_refused_before_and_while_it_arrives(tmp_path):
    house = a_house(tmp_path, limits=SoapLimits(message_bytes=1_000_000, document_bytes=1_000))

    announced = await post(house.service, an_echo(), headers=[(b"content-length", b"1000001")])
    arriving = await post(house.service, [an_echo(), *[b" " * 100_000] * 11])
    document = a_part(b"x" * 1_001, "Content-ID: <d@x>")
    one_document = await post(house.service, a_package(a_root(a_keep(include("d@x"))), document), MTOM)

    assert [answer.status for answer in (announced, arriving, one_document)] == [413] * 3
    assert announced.fault == ("Sender",)
    assert house.left_behind() == []


async def test_a_client_that_goes_while_it_sends_leaves_nothing(house):
    message = a_package(a_root(a_keep(include("d@x"))), a_part(b"x" * 100_000, "Content-ID: <d@x>"))

    answer = await post(house.service, [message[:50_000], message[50_000:90_000]], MTOM, gone_after=2)

    assert answer.status == 0
    assert house.left_behind() == []


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
async def test_other_methods_are_told_what_is_allowed(house, method):
    answer = await post(house.service, b"", method=method)

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


# --- orderly failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("errors", [(UnknownPatientId("P1"),), (UnknownPatientId("P1"), MetadataError("x"))])
async def test_errors_of_ihe_are_an_orderly_response_and_recorded(tmp_path, errors):
    house = a_house(tmp_path, handle_echo=refusing(*errors))

    answer = await post(house.service, an_echo())

    assert answer.status == 200
    found = [error.get("code") for error in answer.xml.iter("{urn:echo}Error")]
    assert found == [error.code_for(Actor.REGISTRY) for error in errors]
    assert outcomes(house) == [Outcome.SERIOUS_FAILURE]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(MetadataError("x"), Outcome.SERIOUS_FAILURE), (ExtraMetadataNotSaved("x"), Outcome.SUCCESS)],
)
async def test_a_warning_does_not_make_a_failure(tmp_path, error, outcome):
    async def handle(unit, request):
        return Echo("", (error,))

    house = a_house(tmp_path, handle_echo=handle)
    await post(house.service, an_echo())

    assert outcomes(house) == [outcome]


async def test_our_mistake_is_told_by_a_correlation_id_alone(tmp_path, caplog, capsys):
    async def handle(unit, request):
        raise KeyError("Roe^Rick")

    house = a_house(tmp_path, handle_echo=handle)
    answer = await post(house.service, an_echo())

    (error,) = answer.xml.iter("{urn:echo}Error")
    assert answer.status == 200
    assert error.get("code") == "XDSRegistryError"
    assert "Rick" not in error.text
    assert outcomes(house) == [Outcome.SERIOUS_FAILURE]
    logged = capsys.readouterr()
    assert error.text.rsplit(" ", 1)[1] in logged.out + logged.err + caplog.text


async def test_a_mistake_in_a_decoder_is_ours_too(tmp_path, monkeypatch, house):
    def broken(body, attachments):
        raise ValueError("secret")

    monkeypatch.setitem(
        house.service._served, ECHO.action, Served(replace(ECHO, decode_request=broken), refusing(), describe)
    )
    answer = await post(house.service, an_echo())

    assert [error.get("code") for error in answer.xml.iter("{urn:echo}Error")] == ["XDSRegistryError"]
    assert b"secret" not in answer.body


async def test_a_full_disk_is_out_of_resources_and_leaves_nothing(house, monkeypatch):
    def full(self, octets):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Sink, "write", full)
    message = a_package(a_root(a_keep(include("d@x"))), a_part(b"x" * 700_000, "Content-ID: <d@x>"))

    answer = await post(
        house.service, [message[n : n + 65_536] for n in range(0, len(message), 65_536)], MTOM
    )

    assert answer.status == 200
    assert b"XDSRepositoryOutOfResources" in answer.body
    assert house.left_behind() == []


async def test_a_full_store_is_out_of_resources_and_recorded(tmp_path):
    async def handle(unit, request):
        raise OSError(errno.ENOSPC, "No space left on device")

    house = a_house(tmp_path, handle_echo=handle)
    answer = await post(house.service, an_echo())

    assert [error.get("code") for error in answer.xml.iter("{urn:echo}Error")] == [
        "XDSRegistryOutOfResources"
    ]
    assert outcomes(house) == [Outcome.SERIOUS_FAILURE]


# --- who is calling -----------------------------------------------------------------------------------


async def test_a_refused_assertion_is_a_fault_and_recorded_with_what_it_was_to_prove(tmp_path):
    house = a_house(tmp_path, doorkeeper=Doorkeeper(SecurityFault("FailedCheck", "detail", claimed="a<b@c>")))

    answer = await post(house.service, an_echo())

    assert (answer.status, answer.fault) == (400, ("Sender", "FailedCheck"))
    assert "detail" not in answer.reason
    (authentication,) = house.recorder.events
    assert authentication.event_id == USER_AUTHENTICATION
    assert [code.code for code in authentication.event_types] == ["110122"]
    assert [one.user_id for one in authentication.participants] == ["a<b@c>"]
    assert authentication.participants[0].network_id == "127.0.0.1"
    assert ECHO.number in authentication.outcome_description
    assert outcomes(house) == [Outcome.SERIOUS_FAILURE]


async def test_a_refused_request_is_not_decoded_not_even_for_the_trail(tmp_path, monkeypatch):
    decoded = []
    house = a_house(tmp_path, doorkeeper=Doorkeeper(SecurityFault("FailedCheck")))
    served = Served(replace(ECHO, decode_request=lambda *read: decoded.append(read)), refusing(), describe)
    monkeypatch.setitem(house.service._served, ECHO.action, served)

    for _ in range(200):
        assert (await post(house.service, an_echo())).fault == ("Sender", "FailedCheck")
    assert (await post(house.service, a_package(a_root(a_keep("!"))), MTOM)).fault == (
        "Sender",
        "FailedCheck",
    )

    assert decoded == []
    assert [event.event_id for event in house.recorder.events] == [USER_AUTHENTICATION]
    assert house.left_behind() == []


async def test_two_security_headers_are_refused(house):
    header = (
        '<w:Security xmlns:w="http://docs.oasis-open.org/wss/2004/01/'
        'oasis-200401-wss-wssecurity-secext-1.0.xsd"/>'
    )

    answer = await post(house.service, an_echo(headers=header * 2))

    assert answer.fault == ("Sender", "InvalidSecurity")
    assert house.doorkeeper.seen == []


# --- the trail ----------------------------------------------------------------------------------------


async def test_nothing_is_answered_that_cannot_be_recorded(tmp_path, house):
    house.recorder.available = False

    for message, header in ((an_echo("private"), SOAP), (a_package(a_root(a_keep("AAEC"))), MTOM)):
        answer = await post(house.service, message, header)

        assert b"OutOfResources" in answer.body
        assert b"private" not in answer.body
        assert b"d0@test" not in answer.body


async def test_a_refusal_that_cannot_be_recorded_is_none(tmp_path):
    house = a_house(tmp_path, handle_echo=refusing(UnknownPatientId("P1")))
    house.recorder.available = False

    answer = await post(house.service, an_echo())

    assert [error.get("code") for error in answer.xml.iter("{urn:echo}Error")] == [
        "XDSRegistryOutOfResources"
    ]


async def test_a_stranger_who_cannot_be_recorded_is_told_nothing(tmp_path):
    house = a_house(tmp_path, doorkeeper=Doorkeeper(SecurityFault("FailedCheck")))
    house.recorder.available = False

    answer = await post(house.service, an_echo())

    assert (answer.status, answer.fault) == (503, ("Receiver",))


async def test_the_event_is_kept_before_the_first_byte_leaves(house):
    kept_at_first_byte = []

    async def send(message):
        kept_at_first_byte.append(len(house.recorder.events))

    await post(house.service, an_echo(), send=send)

    assert kept_at_first_byte == [1, 1]


async def test_a_unit_that_recorded_its_change_is_not_recorded_again(tmp_path):
    async def handle(unit, request):
        unit.audited = True
        return Echo("")

    house = a_house(tmp_path, handle_echo=handle)
    await post(house.service, an_echo())

    assert house.recorder.events == []


async def test_a_response_that_breaks_off_is_recorded_as_a_failure(tmp_path):
    document = tmp_path / "document"
    document.write_bytes(bytes(5_000_000))

    async def handle(unit, request):
        return Documents((FileRange(document, 0, 5_000_000),))

    house = a_house(tmp_path, handle_keep=handle)
    sent = 0

    async def send(message):
        nonlocal sent
        sent += len(message.get("body", b""))
        if sent > 1_000_000:
            raise ClientGone("gone")

    await post(house.service, a_package(a_root(a_keep())), MTOM, send=send)

    assert outcomes(house) == [Outcome.SUCCESS, Outcome.SERIOUS_FAILURE]


async def test_a_file_that_is_shorter_than_promised_is_recorded_as_a_failure(tmp_path):
    document = tmp_path / "document"
    document.write_bytes(b"short")

    async def handle(unit, request):
        return Documents((FileRange(document, 0, 500),))

    house = a_house(tmp_path, handle_keep=handle)
    with pytest.raises(Exception, match="document ends 495 bytes"):
        await post(house.service, a_package(a_root(a_keep())), MTOM)

    assert outcomes(house) == [Outcome.SUCCESS, Outcome.SERIOUS_FAILURE]


# --- load ---------------------------------------------------------------------------------------------


async def test_more_work_than_there_are_places_for_is_told_to_come_again(tmp_path):
    release, entered = asyncio.Event(), asyncio.Event()

    async def handle(unit, request):
        entered.set()
        await release.wait()
        return Echo("done")

    house = a_house(tmp_path, handle_echo=handle, limits=SoapLimits(working=1))
    first = asyncio.create_task(post(house.service, an_echo()))
    await entered.wait()

    second = await post(house.service, an_echo(), headers=[(b"content-length", b"600")])
    large = await post(house.service, an_echo(), headers=[(b"content-length", b"600000")])
    mtom = await post(house.service, a_package(a_root(a_keep())), MTOM, headers=[(b"content-length", b"900")])
    release.set()

    assert second.status == 200
    assert [error.get("code") for error in second.xml.iter("{urn:echo}Error")] == ["XDSRegistryBusy"]
    assert b"XDSRepositoryBusy" in mtom.body
    assert (large.status, large.fault) == (503, ("Receiver",))
    assert {answer.headers["retry-after"] for answer in (second, large, mtom)} == {"2"}
    assert (await first).xml.findtext(".//{urn:echo}EchoResponse") == "done"
    assert (await post(house.service, an_echo())).status == 200


async def test_one_peer_that_asks_more_than_its_share_is_sent_away_and_another_is_served(tmp_path):
    release = asyncio.Event()

    async def handle(unit, request):
        if request.text == "wait":
            await release.wait()
        return Echo("done")

    house = a_house(tmp_path, handle_echo=handle, limits=SoapLimits(working=4))
    first = [asyncio.create_task(post(house.service, an_echo("wait"))) for _ in range(2)]
    await asyncio.sleep(0)

    third = await post(house.service, an_echo())
    other = await post(house.service, an_echo(), address="192.0.2.9")
    release.set()

    assert [error.get("code") for error in third.xml.iter("{urn:echo}Error")] == ["XDSRegistryBusy"]
    assert other.xml.findtext(".//{urn:echo}EchoResponse") == "done"
    assert [answer.status for answer in await asyncio.gather(*first)] == [200, 200]


@pytest.mark.parametrize("length", [MAX_MESSAGE_ID, MAX_MESSAGE_ID + 1, 100 * MAX_MESSAGE_ID])
async def test_a_message_id_is_echoed_up_to_its_limit_and_beyond_it_refused_without(tmp_path, length):
    house = a_house(tmp_path)

    answer = await post(house.service, an_echo(message_id="urn:" + "m" * (length - 4)))

    assert (answer.status, len(answer.body) > length) == (
        (200, True) if length <= MAX_MESSAGE_ID else (400, False)
    )
    assert (b"RelatesTo" in answer.body) is (length <= MAX_MESSAGE_ID)
    assert len(answer.body) < MAX_MESSAGE_ID + 2_000


async def test_places_are_given_back_whatever_happens(tmp_path):
    house = a_house(tmp_path, limits=SoapLimits(working=1, receiving=1))

    for message in (b"<x", an_echo(action="urn:other"), an_envelope("")):
        assert (await post(house.service, message)).status == 400
    await post(house.service, an_echo(), gone_after=0)

    assert (await post(house.service, an_echo())).status == 200


# --- perform, for REST --------------------------------------------------------------------------------


class Problem(Exception):
    pass


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (DocumentUniqueIdError("x"), DocumentUniqueIdError),
        (SenderFault("x"), SenderFault),
        (Problem(), Problem),
        (RuntimeError("x"), InternalError),
    ],
)
async def test_perform_records_a_failure_and_raises_it_again(raised, expected):
    async def handle(unit, request):
        raise raised

    recorder, caller = Recorder(), await Doorkeeper().caller(None, endpoint="http://x/")
    with pytest.raises(expected):
        await perform(Served(ECHO, handle, describe), a_unit, Echo(""), caller, recorder, expected=(Problem,))

    assert [event.outcome for event in recorder.events] == [Outcome.SERIOUS_FAILURE]


async def test_a_request_beyond_its_limits_is_recorded_and_never_handled():
    handled = []

    async def handle(unit, request):
        handled.append(request)
        return Echo("done")

    class Large(Echo):
        refused = UnknownPatientId("too much")

    recorder, caller = Recorder(), await Doorkeeper().caller(None, endpoint="http://x/")
    with pytest.raises(UnknownPatientId):
        await perform(Served(ECHO, handle, describe), a_unit, Large("much"), caller, recorder)

    assert [event.outcome for event in recorder.events] == [Outcome.SERIOUS_FAILURE]
    assert handled == []


async def test_perform_gives_nothing_when_it_cannot_record():
    async def handle(unit, request):
        return Echo("private")

    caller = await Doorkeeper().caller(None, endpoint="http://x/")
    with pytest.raises(AuditUnavailable):
        await perform(Served(ECHO, handle, describe), a_unit, Echo(""), caller, Recorder(available=False))


def test_two_transactions_with_one_action_are_a_mistake(tmp_path):
    twice = (Served(ECHO, refusing(), describe), Served(ECHO, refusing(), describe))
    with pytest.raises(ValueError, match="same action"):
        SoapService(
            twice,
            unit=a_unit,
            authenticator=Doorkeeper(),
            recorder=Recorder(),
            settings=ServiceSettings(),
            actor=Actor.REGISTRY,
            spool_folder=tmp_path,
        )


class Rows(list[bytes]):
    """A list that can be watched."""


async def test_what_a_refused_request_had_in_hand_does_not_wait_for_the_garbage_collector(tmp_path):
    held: list[weakref.ref[Rows]] = []

    async def handle(unit, request):
        rows = Rows([bytes(1_000)])
        held.append(weakref.ref(rows))
        try:
            raise KeyError("on the way")
        except KeyError:
            raise XdsError("too many rows")  # noqa: B904  # the context is what is looked at

    house = a_house(tmp_path, handle_echo=handle)
    gc.collect()
    gc.disable()
    try:
        assert (await post(house.service, an_echo())).status == 200
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
