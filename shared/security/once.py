"""What is for one use: assertions (SAML 2.0 core 2.5.1.5), used once in the whole community or not at all,
and proofs of possession (RFC 9449 11.1).

What was used is kept in one place: a table of the community's registry, which every worker, host and service
asks before it goes on, and which outlives them. Where it cannot be asked, an assertion for one use is
refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Protocol

import httpx2

from shared.faults import SecurityFault
from shared.security.own_registry import NoAnswer, ask
from shared.settings import ConsentSource, ServiceSettings

PATH = "/assertions/use"

#: Used assertions that are kept at a time: beyond it none is taken until some have expired.
MOST_KEPT = 100_000


class Once(Protocol):
    """Where used assertions are kept."""

    async def use(self, key: str, until: datetime) -> bool:
        """Whether this is the first use of `key`, which may be forgotten at `until` (aware).

        Raises
        ------
        SecurityFault
            It cannot be told.
        """
        ...


def key_of(issuer: str, assertion_id: str) -> str:
    """Under what an assertion is kept: hexadecimal, and telling nothing of whom it is about."""
    return sha256(json.dumps([issuer, assertion_id]).encode()).hexdigest()


def untold(why: str) -> SecurityFault:
    """Whether the assertion was used is not known, and it is refused."""
    return SecurityFault("InvalidSecurityToken", f"an assertion for one use is not taken: {why}")


class Nowhere:
    """No place: assertions for one use are refused."""

    async def use(self, key: str, until: datetime) -> bool:
        """Refuse."""
        raise untold("this service asks no registry of xdsi, where used ones are kept")


class InProcess:
    """The memory of this process, for a service that has no other."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._until: dict[str, datetime] = {}

    async def use(self, key: str, until: datetime) -> bool:
        """Whether it is the first one; raises `SecurityFault` where too many are to be remembered."""
        now = self._clock()
        # They come about in the order in which they may be forgotten.
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]
        if key in self._until:
            return False
        if len(self._until) >= MOST_KEPT:
            raise untold("too many were used within a minute")
        self._until[key] = until
        return True


def open_once(settings: ServiceSettings, http: httpx2.AsyncClient) -> Once:
    """Where a service that is not the registry keeps used assertions: at the registry whose policies it
    asks; beside one of another vendor nowhere.
    """
    if settings.consent.source is not ConsentSource.REGISTRY:
        return Nowhere()
    return AtRegistry(http, settings.consent_url)


class AtRegistry:
    """The table of the community's registry at `url`."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._url = url

    async def use(self, key: str, until: datetime) -> bool:
        """Ask the registry."""
        content = {"key": key, "until": until.isoformat()}
        try:
            first = json.loads(await ask(self._http, self._url, PATH, content))["first"]
        except (httpx2.HTTPError, NoAnswer, ValueError, KeyError, TypeError) as error:
            raise untold(f"the registry cannot be asked ({type(error).__name__})") from None
        return first is True
