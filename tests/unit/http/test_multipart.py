"""multipart/related as it arrives: exact to the byte at any split, within its limits."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.faults import SenderFault
from shared.http.multipart import (
    MAX_HEADER_LINE,
    MAX_HEADER_LINES,
    MAX_OUTSIDE,
    DelimiterScanner,
    PartBegins,
    Parts,
)
from tests.support.soap_exchange import a_package, a_part


async def chunked(message: bytes, cuts: Sequence[int]) -> AsyncIterator[bytes]:
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]
    for begin, end in pairwise(edges):
        yield message[begin:end]


async def read(
    message: bytes, *cuts: int, boundary: str = "b1", **limits: int
) -> list[tuple[dict[str, str], bytes]]:
    found = []
    async for part in Parts(chunked(message, cuts), boundary, **limits):
        found.append((dict(part.headers), b"".join([chunk async for chunk in part.chunks()])))
    return found


# Whatever looks like a delimiter of boundary b1 and is none.
LOOKALIKES = st.sampled_from(
    [
        b"\r\n--b1X",
        b"\r\n--b",
        b"\r\n--",
        b"\r",
        b"\n",
        b"\r\n",
        b"--b1",
        b"\r\n--b1-",
        b"\r\n--b1 -",
        b"\r\r\n--b1z",
    ]
)
PAYLOADS = st.lists(st.one_of(LOOKALIKES, st.binary(max_size=20)), max_size=8).map(b"".join)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def carries_no_delimiter(payload: bytes) -> bool:
    # As no sender would choose a boundary that is in what it sends, at its beginning and end too.
    return re.search(rb"\r\n--b1(?:--)?[ \t]*\r?\n", b"\r\n" + payload + b"\r\n") is None


@given(st.lists(PAYLOADS.filter(carries_no_delimiter), min_size=1, max_size=4), CUTS)
async def test_every_part_arrives_to_the_byte_however_the_message_is_cut(payloads, cuts):
    message = a_package(*(a_part(payload, f"Content-ID: <{n}>") for n, payload in enumerate(payloads)))

    assert [content for _, content in await read(message, *cuts)] == payloads


@pytest.mark.parametrize(
    "payload", [b"", b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"a\r\n", b"\r\na", b"\r\n--b", b"--"]
)
async def test_line_ends_at_the_edges_belong_to_the_part(payload):
    message = a_package(a_part(payload, "Content-ID: <a>"), a_part(payload))

    for cut in range(len(message)):
        assert [content for _, content in await read(message, cut)] == [payload, payload]


async def test_a_part_may_end_with_its_headers():
    message = b"--b1\r\nContent-ID: <a>\r\n\r\n--b1\r\n\r\n--b1--"

    assert await read(message, *range(len(message))) == [({"content-id": "<a>"}, b""), ({}, b"")]


async def test_preamble_epilogue_padding_and_a_missing_last_line_end_are_read_over():
    message = b"for old readers\r\n--b1 \t\r\n\r\none\r\n--b1-- \r\nand goodbye"

    assert await read(message) == [({}, b"one")]
    assert await read(b"--b1\r\n\r\none\r\n--b1--") == [({}, b"one")]


async def test_folded_headers_in_any_case_are_one_value():
    message = a_package(a_part(b"x", "content-ID: <a>", "X-Long: one;", "\ttwo", "  three"))

    assert (await read(message))[0][0] == {"content-id": "<a>", "x-long": "one; two three"}


async def test_base64_as_transfer_encoding_is_undone():
    message = a_package(a_part(b"AAEC\r\nAw==\r\n", "Content-ID: <a>", "Content-Transfer-Encoding: BASE64"))

    assert (await read(message, 30, 61, 62, 63))[0][1] == b"\x00\x01\x02\x03"


@pytest.mark.parametrize("content", [b"AAE", b"AA=A", b"AAEC!AAA", b"AA==AAAA"])
async def test_what_is_not_base64_is_the_senders_fault(content):
    with pytest.raises(SenderFault, match="base64"):
        await read(a_package(a_part(content, "Content-Transfer-Encoding: base64")))


async def test_an_unknown_transfer_encoding_is_the_senders_fault():
    with pytest.raises(SenderFault, match="Content-Transfer-Encoding"):
        await read(a_package(a_part(b"", "Content-Transfer-Encoding: quoted-printable")))


@pytest.mark.parametrize("cut_off", [1, 8, 9, 20])
async def test_a_truncated_message_is_the_senders_fault(cut_off):
    message = a_package(a_part(b"content", "Content-ID: <a>")).removesuffix(b"\r\n")

    with pytest.raises(SenderFault, match="truncated"):
        await read(message[:-cut_off])


async def test_a_message_without_any_boundary_is_the_senders_fault():
    with pytest.raises(SenderFault, match="truncated"):
        await read(b"nothing")


@pytest.mark.parametrize("boundary", ["", "b" * 71, "b ", "b\r\n", "ä"])
def test_a_boundary_that_is_none_is_the_senders_fault(boundary):
    with pytest.raises(SenderFault, match="boundary of 1 to 70"):
        DelimiterScanner(boundary)


@pytest.mark.parametrize("boundary", ["b", "b" * 70, "=_a'b(c)+,-./:=?", "--x", "a b", "----=_Part_1"])
async def test_every_legal_boundary_is_read(boundary):
    assert await read(a_package(a_part(b"x"), boundary=boundary), 3, 9, boundary=boundary) == [({}, b"x")]


async def test_the_limits_are_what_they_say():
    lines = [f"X-{n}: v" for n in range(MAX_HEADER_LINES)]
    assert len((await read(a_package(a_part(b"", *lines))))[0][0]) == MAX_HEADER_LINES
    with pytest.raises(SenderFault, match="header lines"):
        await read(a_package(a_part(b"", *lines, "X: one more")))

    longest = "X: ".ljust(MAX_HEADER_LINE, "v")
    assert await read(a_package(a_part(b"", longest)))
    for cuts in ((), range(0, 9000, 100)):
        with pytest.raises(SenderFault, match="header line"):
            await read(a_package(a_part(b"", longest + "v")), *cuts)

    assert len(await read(a_package(*[a_part(b"")] * 3), max_parts=3)) == 3
    with pytest.raises(SenderFault, match="more than 3 parts"):
        await read(a_package(*[a_part(b"")] * 4), max_parts=3)

    message = a_package(a_part(b"x"))
    assert await read(b"p" * (MAX_OUTSIDE - 4) + b"\r\n" + message)
    for outside in (b"p" * (MAX_OUTSIDE + 1) + b"\r\n" + message, message + b"e" * (MAX_OUTSIDE + 1)):
        with pytest.raises(SenderFault, match="before the first or after the last"):
            await read(outside, 100, 200)


async def test_a_header_line_without_colon_is_the_senders_fault():
    with pytest.raises(SenderFault, match="no colon"):
        await read(a_package(a_part(b"", "nonsense")))


async def test_a_part_that_nobody_reads_passes_by():
    message = a_package(a_part(b"one", "Content-ID: <1>"), a_part(b"two", "Content-ID: <2>"))

    names = [part.content_id async for part in Parts(chunked(message, range(0, 60, 5)), "b1")]

    assert names == ["1", "2"]


@given(st.binary(max_size=300), CUTS)
def test_the_scanner_says_the_same_however_its_input_is_cut(noise, cuts):
    message = b"--b1\r\n" + noise.replace(b"\x00", b"\r\n--b1\r\n").replace(b"\x01", b"\r\n--b1--")
    edges = [0, *sorted(cut % (len(message) + 1) for cut in cuts), len(message)]

    assert scanned([message]) == scanned([message[a:b] for a, b in pairwise(edges)])


def scanned(chunks: Sequence[bytes]) -> list[object]:
    scanner, found = DelimiterScanner("b1"), []
    try:
        for chunk in chunks:
            for event in scanner.feed(chunk):
                _append(found, event)
        for event in scanner.close():
            _append(found, event)
    except SenderFault as fault:
        found.append(fault.reason)
    return found


def _append(found: list[object], event: object) -> None:
    if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
        found[-1] += event
    else:
        found.append(event.headers if isinstance(event, PartBegins) else event)
