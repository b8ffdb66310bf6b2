"""Records that were set aside are sent again: what is taken is gone, what is refused stays."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.audit.connection import opened
from shared.audit.resending import resend
from shared.audit.set_aside import SetAside
from shared.audit.syslog import FrameReader


class Receiver:
    """Keeps what it takes, and ends a connection upon a record that it refuses."""

    def __init__(self, refuses):
        self.refuses = refuses
        self.taken: set[bytes] = set()

    async def serve(self, reader, writer):
        frames = FrameReader(max_bytes=100_000)
        try:
            while octets := await reader.read(4096):
                for record in frames.feed(octets):
                    if record in self.refuses:
                        return
                    self.taken.add(record)
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def listening(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield partial(opened, "127.0.0.1", server.sockets[0].getsockname()[1], None)
        finally:
            server.close()


def kept_aside(folder, records):
    aside = SetAside(folder)
    return {folder / aside.keep(record)[0]: record for record in records}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 12), st.sets(st.integers(0, 11)))
async def test_exactly_what_is_refused_stays(tmp_path_factory, number, refused):
    records = [b"record %d" % at for at in range(number)]
    files = kept_aside(tmp_path_factory.mktemp("aside"), records)
    receiver = Receiver({records[at] for at in refused if at < number})

    async with receiver.listening() as connect:
        resent = await resend(list(files), connect, rest_seconds=0.1)

    assert {files[file] for file in resent.refused} == receiver.refuses
    assert receiver.taken >= set(records) - receiver.refuses
    assert {file for file in files if file.exists()} == set(resent.refused)


async def test_a_receiver_that_is_away_takes_nothing(tmp_path):
    files = kept_aside(tmp_path / "aside", [b"one", b"two"])

    with pytest.raises(OSError, match="Connect"):
        await resend(list(files), partial(opened, "127.0.0.1", 1, None), rest_seconds=0.1)

    assert all(file.exists() for file in files)
