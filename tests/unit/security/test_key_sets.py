"""Keys that an issuer shows are had when they are needed, change without anybody's doing, and are believed no
longer than they may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from joserfc.jwk import ECKey

from shared.faults import SecurityFault
from shared.security.key_sets import MAX_AGE_SECONDS, MAX_SILENCE_SECONDS, KeySets
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from tests.support.tokens import ISSUER, key_set

OLD, NEW = (ECKey.generate_key("P-256", {"kid": kid, "use": "sig"}) for kid in ("old", "new"))


class Shown:
    """An issuer that shows a set, or answers `status`; `asked` counts."""

    def __init__(self) -> None:
        self.keys, self.status, self.asked = [OLD], 200, 0
        self.now = 0.0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        body = key_set(*self.keys)
        writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (self.status, len(body)) + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def shown() -> AsyncIterator[tuple[Shown, KeySets]]:
    issuer = Shown()
    server = await asyncio.start_server(issuer.connected, "127.0.0.1", 0)
    async with server:
        place = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        yield issuer, KeySets({ISSUER: place}, TlsSettings(), clock=lambda: issuer.now)


def header(kid: str) -> dict[str, str]:
    return {"alg": "ES256", "kid": kid}


async def test_a_set_is_asked_for_once_and_kept_for_its_time():
    async with shown() as (issuer, keys):
        found = await asyncio.gather(*(keys.find(ISSUER, header("old")) for _ in range(10)))
        issuer.now = MAX_AGE_SECONDS - 1
        await keys.find(ISSUER, header("old"))
        before = issuer.asked
        issuer.now = MAX_AGE_SECONDS
        await keys.find(ISSUER, header("old"))

    assert {key.kid for key in found} == {"old"}
    assert (before, issuer.asked) == (1, 2)


async def test_a_new_key_is_found_at_once_and_one_that_was_taken_back_is_believed_no_more():
    async with shown() as (issuer, keys):
        await keys.find(ISSUER, header("old"))
        issuer.keys, issuer.now = [NEW], 20.0

        assert (await keys.find(ISSUER, header("new"))).kid == "new"
        with pytest.raises(SecurityFault):
            await keys.find(ISSUER, header("old"))


async def test_unknown_keys_do_not_make_an_issuer_be_asked_again_and_again():
    async with shown() as (issuer, keys):
        await keys.find(ISSUER, header("old"))
        for number in range(20):
            with pytest.raises(SecurityFault):
                await keys.find(ISSUER, header(f"k{number}"))

    assert issuer.asked == 1


async def test_an_issuer_that_falls_silent_is_believed_for_an_hour():
    async with shown() as (issuer, keys):
        await keys.find(ISSUER, header("old"))
        issuer.status, issuer.now = 503, MAX_SILENCE_SECONDS - 1
        assert (await keys.find(ISSUER, header("old"))).kid == "old"

        issuer.now = MAX_SILENCE_SECONDS + 20
        with pytest.raises(SecurityFault):
            await keys.find(ISSUER, header("old"))
        issuer.status, issuer.now = 200, MAX_SILENCE_SECONDS + 40
        assert (await keys.find(ISSUER, header("old"))).kid == "old"


async def test_a_token_without_a_kid_is_of_the_only_key_that_it_can_be_of():
    async with shown() as (issuer, keys):
        assert (await keys.find(ISSUER, {"alg": "ES256"})).kid == "old"
        for algorithm in ("RS256", "HS256", "none"):
            with pytest.raises(SecurityFault):
                await keys.find(ISSUER, {"alg": algorithm})
        issuer.keys, issuer.now = [OLD, NEW], MAX_AGE_SECONDS
        with pytest.raises(SecurityFault):
            await keys.find(ISSUER, {"alg": "ES256"})


@pytest.mark.parametrize("place", ["http://login.example/jwks", "ftp://login.example/jwks"])
def test_keys_come_by_https_or_from_this_machine(place: str):
    with pytest.raises(SettingsError, match="XDSI_TOKEN__ISSUERS"):
        ServiceSettings.load(None, {}, token={"issuers": {ISSUER: place}})
