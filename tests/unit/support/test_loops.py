"""What was opened on the loop of a test ends with it."""

from __future__ import annotations

import asyncio
import gc
import socket

from tests.support.loops import EndingLoopPolicy


def test_a_connection_that_was_left_open_is_broken_off_with_its_loop():
    loop = EndingLoopPolicy().new_event_loop()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        reader, writer = loop.run_until_complete(asyncio.open_connection(sock=ours))
        loop.close()
        theirs.settimeout(60)

        assert theirs.recv(1) == b""
        del reader, writer
        gc.collect()
