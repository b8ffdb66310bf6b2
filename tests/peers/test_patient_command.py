"""`xdsi patient` tells what became of its message, however long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from registry.settings import RegistrySettings
from xdsi import patient
from xdsi.failures import Failed

MESSAGE = patient.message("A40", patient="A^^^&1.2.3&ISO", prior="B^^^&1.2.3&ISO")
DONE = b"MSH|^~\\&|||||||ACK||P|2.3.1\rMSA|AA|1\r"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(patient, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(patient, "PAUSE_SECONDS", 0.01)


@asynccontextmanager
async def a_feed(answer: Callable[[int], bytes | None]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A feed that answers the message of its nth connection, with None by closing it."""
    heard: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(patient.END))
        octets = answer(len(heard))
        if octets == b"":
            await reader.read()
        elif octets is not None:
            writer.write(patient.START + octets + patient.END)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


@pytest.mark.parametrize("first", [b"", None], ids=["silent", "closed"])
async def test_a_message_without_an_answer_is_sent_again_until_it_has_one(first):
    async with a_feed(lambda number: first if number < 3 else DONE) as (to, heard):
        await patient.send(RegistrySettings(), to, MESSAGE)
    assert heard == [patient.START + MESSAGE + patient.END] * 3


async def test_what_was_never_answered_is_not_told_as_failed(monkeypatch):
    monkeypatch.setattr(patient, "OUTCOME_SECONDS", 0.05)
    async with a_feed(lambda _: None) as (to, heard):
        with pytest.raises(Failed, match="whether it was done is not known"):
            await patient.send(RegistrySettings(), to, MESSAGE)
    assert len(heard) > 1


async def test_what_could_not_be_sent_was_not_done():
    async with a_feed(lambda _: None) as (to, _):
        pass
    with pytest.raises(Failed, match="is the registry running"):
        await patient.send(RegistrySettings(), to, MESSAGE)
