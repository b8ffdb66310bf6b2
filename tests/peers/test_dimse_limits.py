"""What a hostile or broken DICOM peer may ask of the listener, and that the next good one is served."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from io import BytesIO

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import P_DATA

from imaging_source.dimse.listener import DimseListener
from shared.audit.events import DESTINATION_ROLE, SOURCE_ROLE
from shared.dicom.part10 import file_meta
from shared.dicom.uids import EXPLICIT_LE, VERIFICATION
from tests.peers.test_dcmtk_storescu import a_listener
from tests.support.dicom import CT, a_ct, part10
from tests.support.intake import an_intake
from tests.support.waiting import until

# pynetdicom's SCU, on the side of the tests, leaves its socket open when the other side was first to end.
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def encoded(data_set: Dataset) -> bytes:
    octets = part10(data_set)
    return octets[octets.index(b"\x08\0\x05\0CS") :]


class Peer:
    """A pynetdicom SCU that sends bytes as they are, from a thread of its own."""

    def __init__(
        self, port: int, *, title: str = "CT1", contexts=((CT, EXPLICIT_LE),), idle_seconds: float | None = 5
    ) -> None:
        entity = AE(title)
        entity.acse_timeout = entity.dimse_timeout = 5
        entity.network_timeout = idle_seconds
        built = [build_context(abstract, syntax) for abstract, syntax in contexts]
        self.association = entity.associate("127.0.0.1", port, built, ae_title="XDSI")

    @property
    def established(self) -> bool:
        return self.association.is_established

    def context(self, abstract: str = CT) -> int:
        return next(
            number
            for number, context in self.association._accepted_cx.items()
            if context.abstract_syntax == abstract
        )

    def store(
        self, octets: bytes, *, uid: str = "2.25.13", sop_class: str = CT, context: str = CT
    ) -> Dataset | None:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID = sop_class
        request.AffectedSOPInstanceUID = uid
        request.Priority = 2
        request.DataSet = BytesIO(octets)
        self.association._reactor_checkpoint.clear()
        self.association.dimse.send_msg(request, self.context(context))
        _, answer = self.association.dimse.get_msg(block=True)
        self.association._reactor_checkpoint.set()
        return answer

    def fragment(self, octets: bytes, *, control: int) -> None:
        primitive = P_DATA()
        primitive.presentation_data_value_list = [[self.context(), bytes([control]) + octets]]
        self.association.dul.send_pdu(primitive)

    def ended(self, seconds: float = 5) -> bool:
        deadline = time.monotonic() + seconds
        while self.association.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.association.is_alive()

    def close(self) -> None:
        if self.association.is_established:
            self.association.release()


async def as_peer(work):
    return await asyncio.to_thread(work)


def stored(port: int, octets: bytes, **claim: str):
    peer = Peer(port)
    try:
        return peer.store(octets, **claim)
    finally:
        peer.close()


async def still_serves(listener) -> bool:
    uid = "2.25.77"
    answer = await as_peer(lambda: stored(listener.port, encoded(a_ct(SOPInstanceUID=uid)), uid=uid))
    return answer.Status == 0


@pytest.mark.parametrize("size", [16, 70_000, 1_000_000])
async def test_a_data_set_is_kept_byte_for_byte_behind_a_header_of_ours(tmp_path, size):
    octets = encoded(a_ct(PixelData=bytes(range(256)) * (size // 256)))
    async with a_listener(tmp_path) as (intake, listener):
        answer = await as_peer(lambda: stored(listener.port, octets))

        (kept,) = intake.kept
    head = file_meta(sop_class_uid=CT, sop_instance_uid="2.25.13", transfer_syntax_uid=EXPLICIT_LE)
    assert answer.Status == 0
    assert kept.read_bytes() == head + octets


@pytest.mark.parametrize("sop_class", ["1.2.840.10008.5.1.4.1.1.6", "1.2.840.10008.5.1.4.1.1.200.1"])
async def test_retired_and_unusual_storage_classes_are_taken(tmp_path, sop_class):
    octets = encoded(a_ct(SOPClassUID=sop_class))
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> int:
            peer = Peer(listener.port, contexts=((sop_class, EXPLICIT_LE),))
            try:
                return peer.store(octets, sop_class=sop_class, context=sop_class).Status
            finally:
                peer.close()

        assert await as_peer(send) == 0
        assert len(intake.kept) == 1


async def test_success_is_answered_when_the_instance_is_visible(tmp_path):
    async with a_listener(tmp_path) as (intake, listener):
        peer = await as_peer(lambda: Peer(listener.port))
        for number in range(5):
            uid = f"2.25.{100 + number}"
            octets = encoded(a_ct(SOPInstanceUID=uid))
            answer = await as_peer(lambda octets=octets, uid=uid: peer.store(octets, uid=uid))
            assert answer.Status == 0
            assert uid in await intake.store.find_instances([uid])
        await as_peer(peer.close)


@pytest.mark.parametrize(
    ("octets", "claim", "status", "reason"),
    [
        (encoded(a_ct())[:-10], {}, 0xC000, "truncated"),
        (b"\xff" * 5000, {}, 0xC000, "(FFFF,FFFF)"),
        (encoded(a_ct()), {"uid": "2.25.99"}, 0xA900, "(0008,0018) differs from"),
        (encoded(a_ct(StudyInstanceUID="")), {}, 0xA900, "(0020,000D) is absent"),
        (encoded(a_ct()), {"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, 0x0122, "presentation context"),
    ],
)
async def test_a_refusal_has_its_status_and_its_reason(tmp_path, octets, claim, status, reason):
    async with a_listener(tmp_path) as (intake, listener):
        answer = await as_peer(lambda: stored(listener.port, octets, **claim))

        assert (answer.Status, intake.kept, intake.incoming) == (status, [], [])
        assert reason in answer.ErrorComment
        assert await still_serves(listener)
    assert [event.outcome.value for event in intake.trail.events] == [8, 0]


async def test_an_instance_that_is_too_long_is_out_of_resources(tmp_path):
    octets = encoded(a_ct(PixelData=bytes(500_000)))
    async with a_listener(tmp_path, max_instance_bytes=200_000) as (intake, listener):
        answer = await as_peer(lambda: stored(listener.port, octets))

        assert (answer.Status, intake.kept, intake.incoming) == (0xA700, [], [])
        assert await still_serves(listener)


async def test_nothing_is_taken_that_cannot_be_recorded(tmp_path):
    async with a_listener(tmp_path) as (intake, listener):
        intake.trail.full = True
        answer = await as_peer(lambda: stored(listener.port, encoded(a_ct())))

        assert (answer.Status, intake.kept, intake.incoming) == (0xA700, [], [])
        intake.trail.full = False


async def test_a_peer_that_is_gone_in_the_middle_leaves_nothing(tmp_path):
    async with a_listener(tmp_path) as (intake, listener):

        def begin() -> Peer:
            peer = Peer(listener.port)
            peer.fragment(_command_set(), control=3)
            for _ in range(20):
                peer.fragment(bytes(10_000), control=0)
            return peer

        peer = await as_peer(begin)
        await until(lambda: bool(intake.incoming))
        await as_peer(peer.association.abort)

        await until(lambda: not intake.incoming)
        assert (intake.kept, intake.incoming) == ([], [])
        assert await still_serves(listener)


def _command_set(**changes) -> bytes:
    command = Dataset()
    command.AffectedSOPClassUID = CT
    command.CommandField = 0x0001
    command.MessageID = 1
    command.Priority = 2
    command.CommandDataSetType = 1
    command.AffectedSOPInstanceUID = "2.25.13"
    for keyword, value in changes.items():
        if value is None:
            delattr(command, keyword)
        else:
            setattr(command, keyword, value)
    return encode(command, True, True)


@pytest.mark.parametrize(
    ("octets", "control"),
    [
        (b"garbage" * 100, 3),
        (b"", 3),
        (_command_set(CommandField=0x7777), 3),
        (bytes(10_000), 0),
    ],
)
async def test_a_message_that_cannot_be_read_aborts_its_association_alone(tmp_path, octets, control):
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> bool:
            peer = Peer(listener.port)
            for _ in range(150):
                peer.fragment(octets, control=control)
                time.sleep(0)
            return peer.ended()

        assert await as_peer(send)
        assert await still_serves(listener)
        assert intake.incoming == []


async def test_a_command_set_without_end_aborts_its_association(tmp_path):
    async with a_listener(tmp_path) as (_, listener):

        def send() -> bool:
            peer = Peer(listener.port)
            for _ in range(20):
                peer.fragment(bytes(10_000), control=1)
            return peer.ended()

        assert await as_peer(send)
        assert await still_serves(listener)


async def test_a_command_that_names_its_instance_by_no_uid_is_refused(tmp_path):
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> int:
            peer = Peer(listener.port)
            peer.association._reactor_checkpoint.clear()
            peer.fragment(_command_set(AffectedSOPInstanceUID="../../x"), control=3)
            peer.fragment(encoded(a_ct()), control=2)
            _, answer = peer.association.dimse.get_msg(block=True)
            peer.association._reactor_checkpoint.set()
            peer.close()
            return answer.Status if answer else -1

        assert await as_peer(send) in (0xA900, -1)
        assert (intake.kept, intake.incoming) == ([], [])
        assert await still_serves(listener)


@pytest.mark.parametrize("name", ["AffectedSOPInstanceUID", "AffectedSOPClassUID"])
@pytest.mark.parametrize("change", ["", None], ids=["empty", "absent"])
@pytest.mark.parametrize("fragments", [1, 3])
async def test_a_store_without_its_names_is_answered_and_the_association_goes_on(
    tmp_path, name, change, fragments
):
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> tuple[int, int]:
            peer = Peer(listener.port)
            peer.association._reactor_checkpoint.clear()
            peer.fragment(_command_set(**{name: change}), control=3)
            octets = encoded(a_ct())
            size = -(-len(octets) // fragments)
            for first in range(0, len(octets), size):
                last = first + size >= len(octets)
                peer.fragment(octets[first : first + size], control=2 if last else 0)
            _, refusal = peer.association.dimse.get_msg(block=True)
            peer.association._reactor_checkpoint.set()
            kept = peer.store(encoded(a_ct()))
            peer.close()
            return refusal.Status, kept.Status

        assert await as_peer(send) == (0xA900, 0)
        assert (len(intake.kept), intake.incoming) == (1, [])


def _pdu(context: int, *values: tuple[int, bytes]) -> bytes:
    """A P-DATA-TF PDU of presentation data values, each with its message control header (PS3.8 9.3.5)."""
    items = b"".join(
        struct.pack(">IBB", len(octets) + 2, context, control) + octets for control, octets in values
    )
    return struct.pack(">BxI", 4, len(items)) + items


async def test_a_data_set_may_come_in_pdus_of_one_value_of_several_and_of_none(tmp_path):
    octets = encoded(a_ct(PixelData=bytes(range(256)) * 64))
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> int:
            peer = Peer(listener.port)
            peer.association._reactor_checkpoint.clear()
            peer.fragment(_command_set(), control=3)
            parts = ((0, octets[:100]), (0, octets[100:101])), ((0, b""),), ((0, octets[101:9000]),)
            ends = ((0, octets[9000:9500]), (2, octets[9500:]))
            connection = peer.association.dul.socket.socket
            time.sleep(0.1)
            for values in (*parts, ends):
                connection.sendall(_pdu(peer.context(), *values))
            _, answer = peer.association.dimse.get_msg(block=True)
            peer.association._reactor_checkpoint.set()
            peer.close()
            return answer.Status

        assert await as_peer(send) == 0
        (kept,) = intake.kept
    assert kept.read_bytes().endswith(octets)


@pytest.mark.parametrize("size", [3, 8, 20, 5000])
async def test_a_connection_that_ends_within_a_fragment_leaves_nothing(tmp_path, size):
    octets = encoded(a_ct(PixelData=bytes(16_384)))
    async with a_listener(tmp_path) as (intake, listener):

        def send() -> None:
            peer = Peer(listener.port)
            peer.fragment(_command_set(), control=3)
            connection = peer.association.dul.socket.socket
            time.sleep(0.1)
            connection.sendall(_pdu(peer.context(), (0, octets[:4000])) + _pdu(1, (2, octets[4000:]))[:size])
            connection.shutdown(socket.SHUT_RDWR)
            peer.ended()
            connection.close()

        await as_peer(send)
        assert await still_serves(listener)
        await until(lambda: intake.incoming == [])
        assert len(intake.kept) == 1


async def test_a_store_without_message_id_aborts_its_association(tmp_path):
    async with a_listener(tmp_path) as (_, listener):

        def send() -> bool:
            peer = Peer(listener.port)
            peer.fragment(_command_set(MessageID=None), control=3)
            peer.fragment(encoded(a_ct()), control=2)
            return peer.ended()

        assert await as_peer(send)
        assert await still_serves(listener)


# --- below DIMSE ---------------------------------------------------------------------------------------


def raw(port: int, octets: bytes, *, seconds: float = 5) -> bytes:
    """What comes back on a connection that sends `octets` and then waits."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        connection.sendall(octets)
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BBL", 1, 0, 2**32 - 1),
        struct.pack(">BBL", 1, 0, 100) + b"\xff" * 100,
        struct.pack(">BBL", 4, 0, 2**31) + b"x" * 100,
        struct.pack(">BBL", 9, 0, 4) + bytes(4),
    ],
)
async def test_what_is_no_association_is_cut_and_the_next_is_served(tmp_path, octets):
    async with a_listener(tmp_path) as (_, listener):
        await as_peer(lambda: raw(listener.port, octets, seconds=1))

        assert await still_serves(listener)


def item(kind: int, data: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(data)) + data


def a_request(
    *context_ids: int, abstract: bytes = CT.encode(), syntaxes: tuple[bytes, ...] = (EXPLICIT_LE.encode(),)
) -> bytes:
    """A-ASSOCIATE-RQ, with presentation contexts as no library writes them."""
    body = struct.pack(">HH16s16s32s", 1, 0, b"XDSI".ljust(16), b"CT1".ljust(16), bytes(32))
    body += item(0x10, b"1.2.840.10008.3.1.1.1")
    listed = item(0x30, abstract) + b"".join(item(0x40, syntax) for syntax in syntaxes)
    body += b"".join(item(0x20, bytes([number, 0, 0, 0]) + listed) for number in context_ids)
    body += item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    return struct.pack(">BBL", 1, 0, len(body)) + body


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBL", kind, 0, len(body)) + body


def answer_and_end(port: int, octets: bytes) -> bytes:
    """All that comes back, from a listener that ends the connection by itself; fails where it does not."""
    with socket.create_connection(("127.0.0.1", port), timeout=8) as connection:
        connection.sendall(octets)
        answer = b""
        try:
            while piece := connection.recv(4096):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


NO_FIRST_WORDS = {
    "an unknown PDU": pdu(9, bytes(4)),
    "an unknown PDU that is not whole": struct.pack(">BBL", 0xFF, 0xFF, 2**32 - 1) + b"\xff" * 4,
    "zeros": bytes(10),
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030102000100") + bytes(512),
    "A-ASSOCIATE-AC": pdu(2, bytes(70)),
    "A-ASSOCIATE-RJ": pdu(3, bytes((0, 1, 1, 1))),
    "P-DATA": pdu(4, struct.pack(">LBB", 2, 1, 3)),
    "A-RELEASE-RQ": pdu(5, bytes(4)),
    "A-RELEASE-RP": pdu(6, bytes(4)),
    "an empty request": pdu(1, b""),
    "a request of ten zeros": pdu(1, bytes(10)),
    "a request of noise": pdu(1, b"\xff" * 100),
    "two requests": a_request(1) * 2,
    "an even context id": a_request(2),
    "a context id of zero": a_request(0),
    "an even context id among odd ones": a_request(1, 2, 3),
    "an abstract syntax that is too long": a_request(1, abstract=b"1." * 60 + b"1"),
    "no transfer syntax": a_request(1, syntaxes=()),
}


@pytest.mark.parametrize("octets", NO_FIRST_WORDS.values(), ids=NO_FIRST_WORDS)
async def test_what_cannot_begin_an_association_is_answered_with_an_abort_at_once(tmp_path, octets):
    # One connection at a time: whoever was aborted holds no place.
    async with a_listener(tmp_path, max_associations_per_peer=1) as (_, listener):
        for _ in range(3):
            answer = await as_peer(lambda: answer_and_end(listener.port, octets))
            assert answer[:6] == bytes((7, 0, 0, 0, 0, 4))
            await until(lambda: listener.open_connections == 0)

        assert await still_serves(listener)


async def test_an_abort_as_first_word_ends_the_connection(tmp_path):
    async with a_listener(tmp_path) as (_, listener):
        assert await as_peer(lambda: answer_and_end(listener.port, pdu(7, bytes(4)))) == b""


async def test_an_announced_pdu_of_four_gigabytes_takes_no_memory(tmp_path):
    async with a_listener(tmp_path) as (_, listener):
        answer = await as_peer(lambda: raw(listener.port, struct.pack(">BBL", 1, 0, 2**32 - 1), seconds=3))

        assert answer[:1] == b"\x07"
        assert await still_serves(listener)


async def test_a_silent_peer_keeps_nobody_waiting(tmp_path):
    async with a_listener(tmp_path) as (_, listener):
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(5)]
        try:
            assert await still_serves(listener)
        finally:
            for connection in silent:
                connection.close()


async def test_a_connection_beyond_the_limit_of_its_peer_is_rejected_at_once_as_transient(tmp_path):
    async with a_listener(tmp_path, max_associations_per_peer=2) as (_, listener):
        silent = [socket.create_connection(("127.0.0.1", listener.port)) for _ in range(2)]
        await until(lambda: listener.open_connections == 2)

        # Before it has said a word: result 2, source 3, reason 2 (PS3.8 table 9-21).
        answer = await as_peer(lambda: answer_and_end(listener.port, b""))
        assert answer == bytes((3, 0, 0, 0, 0, 4, 0, 2, 3, 2))
        assert not (await as_peer(lambda: Peer(listener.port))).established

        for connection in silent:
            connection.close()
        await until(lambda: listener.open_connections == 0)
        assert await still_serves(listener)


async def test_associations_of_one_address_are_limited_and_a_place_is_free_again(tmp_path):
    async with a_listener(tmp_path, max_associations_per_peer=2) as (_, listener):
        peers = [await as_peer(lambda: Peer(listener.port)) for _ in range(3)]
        assert [peer.established for peer in peers] == [True, True, False]
        for peer in peers:
            await as_peer(peer.close)

        await until(lambda: listener.open_associations == 0)
        assert await still_serves(listener)


async def test_stopping_ends_open_associations_and_every_thread(tmp_path):
    before = set(threading.enumerate())
    async with a_listener(tmp_path) as (_, listener):
        peer = await as_peer(lambda: Peer(listener.port, contexts=((VERIFICATION, EXPLICIT_LE),)))
        assert peer.established

    assert await as_peer(peer.ended)
    left = {thread.name for thread in set(threading.enumerate()) - before if "asyncio" not in thread.name}
    assert not [name for name in left if "dimse" in name or "Acceptor" in name]


@pytest.mark.parametrize(
    ("public_url", "shown"),
    [(None, ("127.0.0.1", 2)), ("https://images.hub.example:8030", ("images.hub.example", 1))],
)
async def test_the_trail_says_where_both_sides_were_and_not_what_is_listened_on(tmp_path, public_url, shown):
    async with an_intake(tmp_path) as intake:
        settings = intake.settings.model_copy(update={"host": "0.0.0.0", "public_url": public_url})
        listener = DimseListener(intake.store, intake.trail, settings, intake.unit)
        await listener.start()
        try:
            peer = await asyncio.to_thread(Peer, listener.port)
            assert (await asyncio.to_thread(peer.store, encoded(a_ct()))).Status == 0
            await asyncio.to_thread(peer.association.release)
            await until(lambda: intake.trail.events)
        finally:
            await listener.stop()

    (event,) = intake.trail.events
    at = {one.roles[0]: (one.network_id, one.network_type) for one in event.participants}
    assert at == {SOURCE_ROLE: ("127.0.0.1", 2), DESTINATION_ROLE: shown}
    assert [one.roles[0] for one in event.participants if one.requestor] == [SOURCE_ROLE]
