"""Who has to speak in a transaction."""

from __future__ import annotations

from enum import Enum


class Speaker(Enum):
    """Who may call when user assertions are required (`XDSI_XUA=required`)."""

    USER = "a user: the message needs an assertion (queries and retrievals)"
    NODE = "a node may speak for itself (submissions and feeds)"
