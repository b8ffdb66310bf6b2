"""Event loops of tests end with the connections that were opened on them."""

from __future__ import annotations

import asyncio


class EndingLoop(asyncio.SelectorEventLoop):
    """A loop that breaks off, when it is closed, the connections which are left on it.

    Otherwise the collector of garbage finds them open, much later, in a test that knows nothing of them.
    """

    def close(self) -> None:
        left = [] if self.is_closed() or self._another_runs() else list(self._transports.values())
        for connection in left:
            connection.abort()
        if left:
            # A turn, in which they learn of it.
            self.run_until_complete(asyncio.sleep(0))
        super().close()

    @staticmethod
    def _another_runs() -> bool:
        """Whether the loop is closed from within another one, beside which none can run."""
        return asyncio._get_running_loop() is not None


class EndingLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """Gives such loops, to tests and to what they run in their process."""

    _loop_factory = EndingLoop
