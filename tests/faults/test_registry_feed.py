"""The patient identity feed over sockets: whatever comes is answered by AA, AE or AR, and AA is durable."""

from __future__ import annotations

import asyncio
import itertools
import random
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry.settings import RegistrySettings
from tests.support.metadata import DOMAIN, a_document_entry, a_submission
from tests.support.postgres import fresh_database, postgres_url
from tests.support.registry_process import RegistryProcess, client_of, fed, running_registry
from xdsi.patient import END, START
from xdsi.patient import message as adt

__all__ = ["postgres_url"]

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(1800)]

LIMIT = 64 * 1024  # of a frame, here
ANSWER_SECONDS = 20


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RegistryProcess]:
    """A registry with the feed's default limits, but for the longest frame."""
    folder = tmp_path_factory.mktemp("registry")
    with running_registry(folder, mllp_frame_bytes=LIMIT) as process:
        yield process


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def killed_registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RegistryProcess]:
    """A registry that knows no patients but those that are fed."""
    url = None
    if request.param == "postgresql":
        url = asyncio.run(fresh_database(request.getfixturevalue("postgres_url")))
    with running_registry(tmp_path_factory.mktemp("registry"), url) as process:
        yield process


def a_patient() -> str:
    return f"{uuid4().hex}^^^&{DOMAIN}&ISO"


def numbered(octets: bytes, control: str) -> bytes:
    """The message with another MSH-10."""
    fields = octets.split(b"|")
    fields[9] = control.encode()
    return b"|".join(fields)


def segments(answer: bytes) -> dict[bytes, list[bytes]]:
    """The segments of an acknowledgement by name."""
    return {segment[:3]: segment.split(b"|") for segment in answer.split(b"\r") if segment}


def code_of(answer: bytes) -> bytes:
    """MSA-1, of an answer in due form: what is no AA says in ERR what is wrong."""
    found = segments(answer)
    assert {b"MSH", b"MSA"} <= found.keys()
    code = found[b"MSA"][1]
    assert code in (b"AA", b"AE", b"AR")
    assert (b"ERR" in found) is (code != b"AA")
    if code != b"AA":
        place, number, *_ = found[b"ERR"][1].partition(b"^")[0], found[b"ERR"][1].split(b"^")[3]
        assert place
        assert number.split(b"&")[0].isdigit()
    return code


@asynccontextmanager
async def connected(
    registry: RegistryProcess, peer: str = "127.0.0.1"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the feed from one of the addresses of loopback."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", registry.feed_port, local_addr=(peer, 0), limit=2 * LIMIT
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(ANSWER_SECONDS):
        frame = await reader.readuntil(END)
    assert frame.startswith(START)
    return frame[len(START) : -len(END)]


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Whether the registry ends the connection without another word."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


# --- connections ------------------------------------------------------------------------------------------


def test_the_default_limits_are_those_that_are_documented() -> None:
    fields = RegistrySettings.model_fields
    assert fields["mllp_connections"].default == 64
    assert fields["mllp_connections_per_peer"].default == 8
    assert fields["mllp_frame_bytes"].default == 1024 * 1024
    assert fields["mllp_frame_seconds"].default == 30


async def test_64_connections_are_served_8_of_each_peer_and_no_more(registry: RegistryProcess) -> None:
    async with AsyncExitStack() as stack:
        served = [
            await stack.enter_async_context(connected(registry, f"127.0.0.{2 + number % 8}"))
            for number in range(64)
        ]
        for _, writer in served:
            writer.write(START + adt("A04", patient=a_patient()) + END)
        answers = await asyncio.gather(*(answer(reader) for reader, _ in served))
        assert [code_of(each) for each in answers] == [b"AA"] * 64

        # One more, of a peer that has its 8, and of one that has none.
        for peer in ("127.0.0.2", "127.0.0.20"):
            async with connected(registry, peer) as (reader, _):
                assert await is_closed(reader)
        # The 64 know nothing of that.
        for reader, writer in served[:2]:
            writer.write(START + adt("A04", patient=a_patient()) + END)
            assert code_of(await answer(reader)) == b"AA"

    # When they are gone others are heard.
    async with asyncio.timeout(ANSWER_SECONDS):
        while not await _is_heard(registry):  # noqa: ASYNC110  # the registry notices in its own time
            await asyncio.sleep(0.02)


async def _is_heard(registry: RegistryProcess) -> bool:
    async with connected(registry, "127.0.0.2") as (reader, writer):
        writer.write(START + adt("A04", patient=a_patient()) + END)
        try:
            return code_of(await answer(reader)) == b"AA"
        except (asyncio.IncompleteReadError, ConnectionError):
            return False


# --- frames -----------------------------------------------------------------------------------------------


async def test_a_message_is_read_at_whatever_byte_it_is_split(registry: RegistryProcess) -> None:
    octets = START + numbered(adt("A04", patient=a_patient()), "SPLIT") + END
    async with connected(registry) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = None
        for at in range(1, len(octets)):
            writer.write(octets[:at])
            await writer.drain()
            await asyncio.sleep(0.001)  # so that the registry sees the parts apart
            writer.write(octets[at:])
            acknowledged = await answer(reader)
            assert code_of(acknowledged) == b"AA"
            # The same message each time, so the same answer.
            first = first or acknowledged
            assert acknowledged == first


async def test_a_frame_of_the_limit_is_read_and_a_longer_one_cut(registry: RegistryProcess) -> None:
    message = adt("A04", patient=a_patient())
    longest = message + b"ZZZ|" + b"x" * (LIMIT - len(message) - 6) + b"\r"
    assert len(START + longest) == LIMIT
    async with connected(registry) as (reader, writer):
        writer.write(START + longest + END)
        assert code_of(await answer(reader)) == b"AA"
        writer.write(START + longest + b"x" + END)
        assert code_of(await answer(reader)) == b"AR"
        assert await is_closed(reader)
    async with connected(registry) as (reader, writer):
        # A hundred times as much, which nobody reads to the end.
        writer.write(START + b"x" * (100 * LIMIT))
        assert code_of(await answer(reader)) == b"AR"
        assert await is_closed(reader)


WRONG = {
    "no HL7 at all": (b"hello", b"AR"),
    "an empty message": (b"", b"AR"),
    "bytes that are no UTF-8": (adt("A04", patient=a_patient()).replace(b"PV1||O", b"PV1||\xff\xfe"), b"AR"),
    "UTF-16 under the name of UTF-8": (adt("A04", patient=a_patient()).decode().encode("utf-16"), b"AR"),
    "an unknown character set": (
        adt("A04", patient=a_patient()).replace(b"UNICODE UTF-8", b"ISO IR87"),
        b"AR",
    ),
    "Latin 1 under the name of ASCII": (
        adt("A04", patient=a_patient()).replace(b"UNICODE UTF-8", b"ASCII").replace(b"PV1||O", b"PV1||\xe9"),
        b"AR",
    ),
    "other separators": (adt("A04", patient=a_patient()).replace(b"|^~\\&|", b"|^~\\#|", 1), b"AR"),
    "no control id": (numbered(adt("A04", patient=a_patient()), ""), b"AR"),
    "another event": (adt("A04", patient=a_patient()).replace(b"A04", b"A99"), b"AR"),
    "another authority": (adt("A04", patient="P-1^^^&1.2.3&ISO"), b"AE"),
    "a merge of unknown patients": (adt("A40", patient=a_patient(), prior=a_patient()), b"AE"),
}


@pytest.mark.parametrize(("octets", "code"), WRONG.values(), ids=WRONG)
async def test_what_is_wrong_is_told_and_the_next_message_of_the_connection_taken(
    registry: RegistryProcess, octets: bytes, code: bytes
) -> None:
    async with connected(registry) as (reader, writer):
        writer.write(START + octets + END + START + adt("A04", patient=a_patient()) + END)
        assert code_of(await answer(reader)) == code
        assert code_of(await answer(reader)) == b"AA"


async def test_latin_1_is_read_when_it_is_named(registry: RegistryProcess) -> None:
    octets = adt("A04", patient=a_patient(), name="M\xfcller").decode().replace("UNICODE UTF-8", "8859/1")
    assert code_of(await fed(registry, octets.encode("latin-1"))) == b"AA"


@pytest.mark.parametrize(
    "octets",
    [
        adt("A04", patient=a_patient(), name="M\xfcller")
        .decode()
        .replace("UNICODE UTF-8", "")
        .encode("latin-1"),
        b"\xef\xbb\xbf" + adt("A04", patient=a_patient()),
        b"\r\n" + adt("A04", patient=a_patient()),
    ],
    ids=["Latin 1 that is not named", "a byte order mark", "a line end before MSH"],
)
async def test_what_is_tolerated_makes_the_patient_known(registry: RegistryProcess, octets: bytes) -> None:
    assert code_of(await fed(registry, octets)) == b"AA"


async def test_frames_without_their_last_carriage_return_are_answered(registry: RegistryProcess) -> None:
    async with connected(registry) as (reader, writer):
        for _ in range(2):
            writer.write(START + adt("A04", patient=a_patient()) + END[:1])
            assert code_of(await answer(reader)) == b"AA"


async def test_a_frame_that_is_cut_is_refused_by_its_control_id(registry: RegistryProcess) -> None:
    message = numbered(adt("A04", patient=a_patient()), "LONG-1")
    async with connected(registry) as (reader, writer):
        writer.write(START + message + b"ZZZ|" + b"x" * LIMIT)
        assert b"|LONG-1|" in await answer(reader)


def exchanged(registry: RegistryProcess, parts: Iterable[bytes], answers: int) -> list[bytes]:
    """What is answered to the bytes of `parts`, each sent by itself."""
    with socket.create_connection(("127.0.0.1", registry.feed_port), timeout=ANSWER_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
        received = b""
        while received.count(END) < answers and (octets := connection.recv(64 * 1024)):
            received += octets
    return [frame.removeprefix(START) for frame in received.split(END)[:-1]]


MESSAGES = st.lists(
    st.one_of(
        st.builds(
            lambda event: adt(event, patient=a_patient()), st.sampled_from(("A01", "A04", "A05", "A08"))
        ),
        st.binary(max_size=60),
        st.builds(lambda tail: adt("A04", patient=a_patient()) + tail, st.binary(max_size=60)),
    ).filter(lambda octets: END[:1] not in octets),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 2_000), max_size=6))
def test_every_message_is_answered_once_whatever_it_is_and_however_it_arrives(
    registry: RegistryProcess, messages: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(START + each + END for each in messages)
    places = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    parts = [stream[start:end] for start, end in itertools.pairwise(places)]

    answers = exchanged(registry, parts, len(messages))

    assert len(answers) == len(messages)
    for each in answers:
        code_of(each)


# --- retries, and what AA is worth --------------------------------------------------------------------------


async def test_a_repeated_control_id_is_a_retry_only_with_the_same_bytes(registry: RegistryProcess) -> None:
    subsumed, survivor = a_patient(), a_patient()
    for patient in (subsumed, survivor):
        # Both under one control id: two messages.
        assert code_of(await fed(registry, numbered(adt("A04", patient=patient), "C-1"))) == b"AA"
    merge = numbered(adt("A40", patient=survivor, prior=subsumed), "C-2")

    copies = await asyncio.gather(*(fed(registry, merge) for _ in range(6)))
    assert code_of(copies[0]) == b"AA"
    assert set(copies) == {copies[0]}
    # Under another control id it is said again, and wrong now.
    assert code_of(await fed(registry, numbered(merge, "C-3"))) == b"AE"


async def test_who_was_acknowledged_is_known_after_a_kill(
    killed_registry: RegistryProcess, long: bool
) -> None:
    """The kill comes right after the AA, while other messages are under way."""
    registry = killed_registry
    choice = random.Random()
    for _ in range(50 if long else 4):
        acknowledged: list[tuple[str, bytes, bytes]] = []
        enough = choice.randrange(1, 40)
        reached = asyncio.Event()

        async def hospital(
            acknowledged: list[tuple[str, bytes, bytes]] = acknowledged,
            enough: int = enough,
            reached: asyncio.Event = reached,
        ) -> None:
            async with connected(registry) as (reader, writer):
                while True:
                    patient = a_patient()
                    octets = adt("A04", patient=patient)
                    writer.write(START + octets + END)
                    try:
                        answered = await answer(reader)
                    except (asyncio.IncompleteReadError, ConnectionError):
                        return
                    assert code_of(answered) == b"AA"
                    acknowledged.append((patient, octets, answered))
                    if len(acknowledged) >= enough:
                        reached.set()

        hospitals = [asyncio.create_task(hospital()) for _ in range(4)]
        await reached.wait()
        registry.process.kill()
        await asyncio.gather(*hospitals)
        await asyncio.to_thread(registry.start)

        async with client_of(registry) as client:
            for patient, octets, answered in acknowledged:
                assert await fed(registry, octets) == answered
                entry = a_document_entry(patient_id=patient)
                assert await client.register(a_submission(entry)) == frozenset()
