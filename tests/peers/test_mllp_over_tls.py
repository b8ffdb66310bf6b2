"""The identity feed over mutual TLS, on the event loop that serves it."""

from __future__ import annotations

import asyncio

import uvloop

from shared.hl7v2.mllp import MllpLimits, MllpListener, framed
from shared.security.tls import client_context, server_context
from shared.settings import TlsSettings
from tests.support.certificates import communities


def _tls() -> TlsSettings:
    north, _ = communities()
    return TlsSettings(certificate=north.node.certificate, key=north.node.key, trust=north.trust)


async def _aa(message: bytes, address: str) -> bytes:
    return b"AA"


async def _messages_on_connections_of_their_own(number: int) -> list[bytes]:
    listener = MllpListener(
        _aa,
        refusal=lambda reason, _: reason.encode(),
        limits=MllpLimits(connections_per_peer=2),
        tls=server_context(_tls()),
    )
    await listener.start("127.0.0.1", 0)
    context = client_context(_tls())
    context.check_hostname = False
    answers = []
    try:
        for _ in range(number):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", listener.port, ssl=context, server_hostname="127.0.0.1"
            )
            writer.write(framed(b"MSH|"))
            answers.append(await reader.readuntil(b"\x1c\x0d"))
            writer.close()
            await writer.wait_closed()
        return answers
    finally:
        await listener.stop()


def test_a_hospital_that_connects_for_every_message_is_always_heard():
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(_messages_on_connections_of_their_own(12))

    assert answers == [framed(b"AA")] * 12
