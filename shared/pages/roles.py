"""Pages for people in certain roles, beyond those of the node they come from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from functools import wraps
from typing import Any, TypeVar

from shared.http.problem import Forbidden
from shared.security.caller import Caller

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class ForRoles:
    """Wraps what handles a request for a page, for nodes that come without a user and for users in one of the
    roles alone: others learn nothing, not even whose a link is.

    Parameters
    ----------
    refusal
        Whom the pages are for, in words.
    setting
        The environment variable that names the roles.
    roles
        The roles (`code^^scheme`), from the settings of the service.
    """

    def __init__(self, refusal: str, setting: str, roles: Callable[[Any], Collection[str]]) -> None:
        self._refusal = refusal
        self._setting = setting
        self._roles = roles

    def __call__(
        self, handle: Callable[[Any, Request], Awaitable[Answer]]
    ) -> Callable[[Any, Request], Awaitable[Answer]]:
        """`handle`, for them; it raises `Forbidden` for others."""

        @wraps(handle)
        async def checked(unit: Any, request: Request) -> Answer:
            if not self.include(unit.caller, unit.parts.service.settings):
                raise Forbidden(f"{self._refusal}; your assertion names no role of {self._setting}")
            return await handle(unit, request)

        return checked

    def include(self, caller: Caller, settings: Any) -> bool:
        """Whether the pages are for who asks."""
        user, roles = caller.user, self._roles(settings)
        return user is None or any(str(role) in roles for role in user.roles)
