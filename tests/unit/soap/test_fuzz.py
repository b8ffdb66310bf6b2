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
from shared.http.media_type import decode_media_type
from shared.http.raw_asgi import BodyTooLarge
from shared.soap.envelope import check_addressing, read_envelope
from shared.soap.package import Package, read_package
from shared.xml import XmlError, parse
from tests.support.hostile_mtom import LIMITS, mutated
from tests.support.soap_exchange import MTOM, SOAP, a_house, an_echo, post

MUTATIONS = st.integers(0, 2**32).map(lambda seed: mutated(random.Random(seed)))


async def chunked(message: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(message), size):
        yield message[at : at + size]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@settings(max_examples=300, deadline=2_000)
@given(st.one_of(MUTATIONS, st.binary(max_size=300)), st.sampled_from([7, 100, 5_000, 10**7]))
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
    st.one_of(MUTATIONS, st.binary(max_size=100)),
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
