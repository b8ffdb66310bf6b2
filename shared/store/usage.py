"""How much of a database is in use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Connections in use, how many pieces of work wait for one, and the most connections that there may be.

    Of SQLite it is the one that writes.
    """

    in_use: int
    waiting: int
    most: int
