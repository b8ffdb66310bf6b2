"""Hostile bytes: the reader says what is wrong in its own words, and the service answers with an envelope."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.faults import SenderFault, SoapFault
from shared.http.raw_asgi import BodyTooLarge
from shared.soap.envelope import check_addressing, read_envelope
from shared.soap.media_type import decode_media_type
from shared.soap.mtom import include
from shared.soap.package import Package, SoapLimits, read_package
from shared.xml import PRESCAN_BYTES, XmlError, parse
from tests.support.soap_exchange import MTOM, SOAP, a_house, a_keep, a_package, a_part, a_root, an_echo, post

LIMITS = SoapLimits(message_bytes=10_000_000, document_bytes=100_000, xml_bytes=1_000_000, parts=5)
FILLER = f"<a:To>{'x' * PRESCAN_BYTES}</a:To>"
SEEDS = [
    a_package(a_root(a_keep(include("d@x"), "AAEC")), a_part(b"\r\n--b1x\r\n", "Content-ID: <d@x>")),
    a_package(a_root(a_keep("AAEC", "AA&#13;EC", headers=FILLER))),
    a_package(
        a_part(b"AAEC", "Content-Transfer-Encoding: base64", "Content-ID: <d@x>"),
        a_root(a_keep(include("d@x"))),
    ),
    a_package(a_root(an_echo())),
]
TOKENS = [
    *(
        b"\r\n--b1",
        b"--b1--",
        b"\r\n",
        b"\r\n\r\n",
        b"--",
        b"<x:Document>",
        b"</x:Document>",
        b"<!--",
        b"-->",
        b"]]>",
    ),
    *(
        b"<![CDATA[",
        b"<!DOCTYPE a>",
        b"&#13;",
        b"&amp;",
        b"=",
        b"\x00",
        b"\xff\xfe",
        b"Content-ID: <root@test>\r\n",
    ),
    *(
        b"Content-Transfer-Encoding: base64\r\n",
        b'<?xml version="1.0" encoding="utf-16"?>',
        b":" * 300,
        b"<" * 50,
    ),
]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid message with pieces cut out, doubled, put in or changed."""
    message = draw(st.sampled_from(SEEDS))
    luck = random.Random(draw(st.integers(0, 2**32)))
    for _ in range(draw(st.integers(0, 6))):
        at = luck.randrange(len(message) + 1)
        to = at + luck.choice([0, 0, 1, 3, 20, 1_000])
        put = luck.choice([b"", luck.choice(TOKENS), message[at:to] * 2, luck.randbytes(3)])
        message = message[:at] + put + message[to:]
    return message


async def chunked(message: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(message), size):
        yield message[at : at + size]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@settings(max_examples=300, deadline=2_000)
@given(st.one_of(mutations(), st.binary(max_size=300)), st.sampled_from([7, 100, 5_000, 10**7]))
async def test_a_hostile_package_is_read_or_refused_in_bounded_time(folder, message, size):
    package = Package()
    try:
        await read_package(
            package,
            chunked(message, max(size, len(message) // 500)),
            decode_media_type(MTOM),
            folder=folder,
            limits=LIMITS,
        )
        check_addressing(read_envelope(parse(package.xml)))
    except (SoapFault, XmlError, BodyTooLarge):
        pass
    finally:
        package.discard()
    assert not list(folder.iterdir())


@settings(max_examples=300)
@given(st.text(max_size=120))
def test_a_hostile_content_type_is_read_or_refused(header):
    with suppress(SenderFault):
        decode_media_type(header)


@settings(max_examples=150, deadline=2_000)
@given(
    st.one_of(mutations(), st.binary(max_size=100)),
    st.sampled_from([MTOM, SOAP, "text/xml", "multipart/related"]),
)
async def test_whatever_comes_the_answer_is_an_envelope_and_the_next_one_is_served(
    tmp_path_factory, message, header
):
    house = a_house(tmp_path_factory.mktemp("house"), limits=LIMITS)

    answer = await post(house.service, message, header)

    assert answer.status in (200, 400, 413, 500)
    assert answer.xml.tag == "{http://www.w3.org/2003/05/soap-envelope}Envelope"
    if answer.status == 500:
        assert answer.fault[0] in ("MustUnderstand", "VersionMismatch")
    assert b"XDSRegistryError" not in answer.body
    assert b"XDSRepositoryError" not in answer.body
    assert (await post(house.service, an_echo())).status == 200
    assert house.left_behind() == []
