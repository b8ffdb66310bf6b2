"""Who asks this service: a node, and the user whose own assertion or access token it brings along.

The assertion is verified here as by every other service, and passed on to them as it came: this service never
speaks for a user by itself. An access token (ITI-72) is exchanged for an assertion of the same user, which
the identity service makes. Without a user only nodes of this community are served, where assertions are
optional at all.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from functools import partial

from lxml import etree

from shared.audit.refusals import Refusals
from shared.faults import SecurityFault
from shared.http.problem import Unauthorized, Unavailable
from shared.pages.exchange import AssertionExchange, ExchangeRefused, NoReply
from shared.rest.entrance import proved
from shared.security.authenticator import Authenticator, assertion_of_bearer, is_jwt
from shared.security.caller import Caller, Node, User
from shared.security.rights import Right
from shared.security.scopes import OF_OUR_OWN, NeededScope
from shared.telemetry.log import logger

_log = logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who asks, verified; `assertion` is what the user is proved by to others."""

    caller: Caller
    assertion: bytes | None = None

    @classmethod
    def of(cls, caller: Caller) -> Visitor:
        """The visitor who is a caller of ours."""
        return cls(caller=caller, assertion=caller.assertion or None)

    @property
    def user(self) -> User | None:
        """The user, if there is one."""
        return self.caller.user

    @property
    def holder(self) -> str:
        """By what a handle is bound to this user at this node, whichever assertion is brought."""
        user = self.caller.user
        return json.dumps([place_of(self.caller.node), *((user.issuer, user.name_id) if user else ())])


class SignInNeeded(Unauthorized):
    """A user is needed; the detail says why again, or is empty."""


class Reception:
    """Admits visitors; every refusal is recorded before it is told.

    Without an `exchange` access tokens name nobody here: they could not be passed on.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        refusals: Refusals,
        endpoint: str,
        exchange: AssertionExchange | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._refusals = refusals
        self._endpoint = endpoint
        self._exchange = exchange

    async def believed(self, proof: Awaitable[bytes], node: Node, *, door: str) -> bytes:
        """The assertion that `proof` comes to, of who signed in elsewhere; raises `SignInNeeded`."""
        return await proved(
            proof,
            node,
            refusals=self._refusals,
            refusal=lambda fault: SignInNeeded(fault.reason),
            door=door,
        )

    async def admit(self, node: Node, assertion: bytes, *, door: str) -> Visitor:
        """The visitor who came from `node` with `assertion`, an XML document.

        Raises
        ------
        SignInNeeded
            The assertion is not accepted.
        Forbidden
            The node may not ask here, whoever its user is.
        """
        proof = self.caller(
            node,
            door=door,
            right=Right.ASK,
            endpoint=self._endpoint,
            bearer=token_of(assertion),
            speaker_is_user=True,
            needed=OF_OUR_OWN,
        )
        caller = await proved(
            proof,
            node,
            refusals=self._refusals,
            refusal=lambda _: SignInNeeded(
                "The assertion in this file is not accepted. It may have expired."
            ),
            door=door,
        )
        return Visitor.of(caller)

    async def caller(
        self,
        node: Node,
        *,
        door: str,
        right: Right,
        endpoint: str,
        bearer: str | None,
        speaker_is_user: bool,
        needed: NeededScope,
    ) -> Caller:
        """The caller of a request, with the assertion that is passed on; raises `SecurityFault`.

        Assertions are for this service, whatever is asked of it.
        """
        proved_by = partial(
            self._authenticator.caller,
            node,
            door=door,
            right=right,
            endpoint=self._endpoint,
            speaker_is_user=speaker_is_user,
            needed=needed,
        )
        caller = await proved_by(bearer=bearer)
        if bearer is not None and is_jwt(bearer) and (user := caller.user) is not None:
            bearer = token_of(await self._exchanged(bearer, user))
            caller = await proved_by(bearer=bearer)
            if caller.user is None or caller.user.name_id != user.name_id:
                raise SecurityFault("FailedAuthentication", "the token was exchanged for another user's")
        if speaker_is_user and caller.user is None and not caller.community_node:
            fault = SecurityFault("InvalidSecurity", "a node of another community came without a user")
            fault.of_a_known_node = True
            raise fault
        # What the trail names is the address that was called, which may be another than where we listen.
        caller = replace(caller, endpoint=endpoint)
        if caller.user is None or not bearer:
            return caller
        return replace(caller, assertion=_octets(bearer))

    async def _exchanged(self, token: str, user: User) -> bytes:
        """The assertion of the user of an access token, which can be passed on."""
        if self._exchange is None:
            raise SecurityFault(
                "UnsupportedSecurityToken",
                "here a person is named by an assertion",
                claimed=f"<{user.identity}>",
            )
        try:
            return await self._exchange.of_access_token(token)
        except ExchangeRefused:
            raise SecurityFault(
                "FailedAuthentication",
                "the identity service gives no assertion for this token",
                claimed=f"<{user.identity}>",
            ) from None
        except NoReply as error:
            _log.error("an access token cannot be exchanged", what=error.what, url=error.url, why=error.why)
            raise Unavailable("access tokens cannot be exchanged now; try again in a few minutes") from None


def place_of(node: Node) -> str:
    """What a node is known by, whatever else is told of it."""
    return node.fingerprint or node.subject or node.address


def token_of(assertion: bytes) -> str:
    """An assertion, an XML document, as a token."""
    return urlsafe_b64encode(assertion).rstrip(b"=").decode()


def _octets(token: str) -> bytes:
    """The assertion as it was verified, without what may stand around the element in a file."""
    return bytes(etree.tostring(assertion_of_bearer(token), with_tail=False))
