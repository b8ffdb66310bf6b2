"""Who is signed in at the pages of a service."""

from __future__ import annotations

from shared.pages.sessions import Sessions
from shared.pages.visitors import Visitor


def visitors_of(sessions: Sessions) -> list[Visitor]:
    """Everybody who is signed in."""
    shelf = sessions._shelf
    rows = shelf._rows("SELECT key, began, used, content FROM kept WHERE kind = 'session'")
    kept = map(sessions._session, shelf._items("session", rows))
    return [session.visitor for session in kept if session is not None]
