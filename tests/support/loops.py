"""Event loops of tests end with the connections that were opened on them."""

from __future__ import annotations

import asyncio


class EndingLoop(asyncio.SelectorEventLoop):
    """A loop that breaks off, when it is closed, the connections which are left on it.

    Otherwise the collector of garbage finds them open, much later, in a test that knows nothing of them.
    """

    def close(self) -> None:
        if not self.is_closed():
            for connection in list(self._transports.values()):
                connection.abort()
            # A turn, in which they learn of it.
            self.run_until_complete(asyncio.sleep(0))
        super().close()


class EndingLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """Gives such loops, to tests and to what they run in their process."""

    _loop_factory = EndingLoop
