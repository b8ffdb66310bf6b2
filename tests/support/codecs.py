"""The processes that decode and encode pixels for services in this process: started once, and not for every
test."""

from __future__ import annotations

from shared.imaging.transcoder import Workers


class KeptWorkers(Workers):
    """Workers that outlive the service that uses them."""

    async def close(self) -> None:
        """They go on, for the next test."""

    def end(self) -> None:
        """End them, with the last test."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


CODECS = KeptWorkers("imaging-source")
