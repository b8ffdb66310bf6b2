"""The end of sessions whose time is over, which is recorded (Logout by inactivity, DICOM PS3.15 A.5.3.11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from shared.audit.events import LOGOUT, AuditEvent, user_authentication
from shared.background import BackgroundWork
from shared.pages.sessions import Session, Sessions

_SWEEP_SECONDS = 30.0


class SessionEnd:
    """Forgets sessions whose time is over, and records that their users went; `work` does it at intervals."""

    def __init__(self, sessions: Sessions, record: Callable[[Sequence[AuditEvent]], Awaitable[None]]) -> None:
        self._sessions = sessions
        self._record = record
        self._ended: list[Session] = []
        self.work = BackgroundWork("sessions", self.end, rest_seconds=_SWEEP_SECONDS)

    async def end(self) -> None:
        """End what is over now."""
        # What cannot be recorded now is recorded with those that end next.
        self._ended += self._sessions.take_ended()
        ended, visitors = len(self._ended), [session.visitor for session in self._ended]
        await self._record(
            [
                user_authentication(visitor.user, visitor.caller.node, LOGOUT, requested=False)
                for visitor in visitors
                if visitor.user is not None
            ]
        )
        del self._ended[:ended]
