"""A record over which whoever reads it ends, in whichever process, which need not load a test for it."""

from __future__ import annotations

import os
from typing import NoReturn


class EndsItsReader(bytes):
    """Octets that end the process as soon as it looks how they begin."""

    def lstrip(self, octets: object = None, /) -> NoReturn:
        """End."""
        os._exit(9)
