"""How a browser names its user: by the number of a session, which keeps the assertion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from shared.faults import SecurityFault
from shared.http.problem import HttpProblem
from shared.http.raw_asgi import node_of
from shared.pages.browser import Browser
from shared.pages.sessions import Session, Sessions
from shared.pages.visitors import SignInNeeded, place_of, token_of
from shared.rest.message import HttpRequest


class SessionCookie:
    """The cookie of a session; its assertion is verified with each request, as if it came along.

    Whoever brings none is shown the page to sign in.
    """

    name: ClassVar[str] = "session"
    description: ClassVar[Mapping[str, Any]] = {
        "type": "apiKey",
        "in": "cookie",
        "name": "xdsi-<service>",
        "description": "of a session that a person began by signing in; `__Host-xdsi-<service>` under TLS",
    }
    invites: ClassVar[bool] = True

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def token(self, request: HttpRequest) -> str | None:
        """The assertion of the session; None where there is none, and at another node than it began at."""
        session = self._session(request)
        return None if session is None else token_of(session.visitor.assertion or b"")

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        """The page to sign in; a session whose assertion is accepted no longer has ended."""
        if self._session(request) is None:
            return SignInNeeded("")
        self._sessions.close(Browser.of(request).number)
        return SignInNeeded("Your assertion is no longer valid. Sign in with a new one.")

    def _session(self, request: HttpRequest) -> Session | None:
        session = self._sessions.find(Browser.of(request).number)
        if session is None or place_of(session.visitor.caller.node) != place_of(node_of(request.scope)):
            return None
        return session
