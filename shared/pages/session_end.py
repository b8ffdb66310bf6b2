"""The end of sessions whose time is over, which is recorded (Logout by inactivity, DICOM PS3.15 A.5.3.11)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from shared.audit.events import LOGOUT, AuditEvent
from shared.audit.node_events import user_authentication
from shared.background import BackgroundWork
from shared.pages.visitors import Visitor

_SWEEP_SECONDS = 30.0


class EndedSession(Protocol):
    """One whose time is over."""

    @property
    def visitor(self) -> Visitor:
        """Who was signed in."""
        ...


class EndingSessions(Protocol):
    """Sessions that end by themselves."""

    async def take_ended(self) -> Sequence[EndedSession]:
        """Forget those whose time is over, and return them: each to one process."""
        ...


class SessionEnd:
    """Forgets sessions whose time is over, and records that their users went; `work` does it at intervals."""

    def __init__(
        self, sessions: EndingSessions, record: Callable[[Sequence[AuditEvent]], Awaitable[None]]
    ) -> None:
        self._sessions = sessions
        self._record = record
        self._ended: list[EndedSession] = []
        self.work = BackgroundWork("sessions", self.end, rest_seconds=_SWEEP_SECONDS)

    async def end(self) -> None:
        """End what is over now."""
        # What cannot be recorded now is recorded with those that end next.
        self._ended += await self._sessions.take_ended()
        ended, visitors = len(self._ended), [session.visitor for session in self._ended]
        await self._record(
            [
                user_authentication(visitor.user, visitor.caller.node, LOGOUT, requested=False)
                for visitor in visitors
                if visitor.user is not None
            ]
        )
        del self._ended[:ended]
