"""Who is calling: the node that TLS proved, and the user that an assertion or a token proves (ITI-19, ITI-40,
ITI-72)."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lxml import etree

from shared.faults import SecurityFault
from shared.security.caller import Caller, Node, User
from shared.security.once import InProcess, Nowhere, Once, key_of
from shared.security.possession import SentToken, used_once
from shared.security.rights import CONSENT_DOCUMENT, Right, Rights
from shared.security.saml import VerifiedAssertion, claimed_name
from shared.security.scopes import OF_OUR_OWN, NeededScope
from shared.security.xua import MAX_BYTES, AssertionVerifier, assertion_of, check_timestamp
from shared.settings import ServiceSettings, XuaMode
from shared.telemetry.trace import asked_for
from shared.xml import Element, XmlError, parse

if TYPE_CHECKING:
    from shared.security.access_token import TokenVerifier

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class Authenticator:
    """Turns what came with a request into its `Caller`, under one service's settings.

    `once` is where it is kept which assertions for one use were used; without it they are refused. With
    `passes_on` a caller keeps the assertion, so that it can be sent on unchanged: its use is then counted by
    those who answer.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        once: Once | None = None,
        passes_on: bool = False,
    ) -> None:
        self._mode = settings.xua_mode
        self._tls = settings.tls.enabled
        self.rights = Rights(settings)
        self._clock = clock
        self._once = once or Nowhere()
        # A service that asks no registry is one process, which remembers for itself.
        self._proofs = InProcess() if isinstance(self._once, Nowhere) else self._once
        self._passes_on = passes_on
        self._verifier = AssertionVerifier(settings.assertion, settings.audience, settings.home_community_id)
        self._tokens = _token_verifier(settings)

    async def caller(
        self,
        node: Node,
        *,
        door: str,
        right: Right | None = None,
        endpoint: str,
        security_header: Element | None = None,
        bearer: str | None = None,
        speaker_is_user: bool,
        needed: NeededScope = OF_OUR_OWN,
        reply_to: str = "",
        message_id: str = "",
    ) -> Caller:
        """The caller of one request.

        Parameters
        ----------
        door
            What is asked for, by the name under which a refusal tells it.
        right
            What the node needs for it; as `shared.security.rights.DOORS` says for the door when None.
        endpoint
            The URI that was called, without query.
        security_header
            The `wsse:Security` header addressed to us, in its message.
        bearer
            What follows `Bearer` in the Authorization header of a REST request (ITI-72): a JWT, or a SAML
            assertion, base64url without padding. What follows `DPoP` is a `SentToken`.
        speaker_is_user
            Whether the transaction needs a user when assertions are required.
        needed
            What the scopes of a JWT must cover.

        Raises
        ------
        SecurityFault
            The node is not authenticated, the assertion is absent though required, or it is not accepted.
        NodeRefused
            The node has not the right that the door needs.
        """
        asked_for(door)
        self._check(node)
        self.rights.check(node, door, right)
        try:
            if isinstance(bearer, SentToken) and not is_jwt(bearer):
                raise SecurityFault("InvalidSecurityToken", "an assertion is not bound to a key; send Bearer")
            if bearer is not None and security_header is None and is_jwt(bearer):
                user, octets = await self._user_of_token(bearer, endpoint, node, needed), b""
            else:
                user, octets = await self._user(endpoint, security_header, bearer)
            if user is None and speaker_is_user and self._mode is XuaMode.REQUIRED:
                raise SecurityFault("InvalidSecurity", "this transaction needs a user assertion")
        except SecurityFault as fault:
            fault.of_a_known_node = True
            raise
        entry = self.rights.entry(node)
        community = self.rights.community(node)
        return Caller(
            node=node,
            endpoint=endpoint,
            user=user,
            reply_to=reply_to,
            community_node=community,
            may_consent=community or self.rights.may(node, CONSENT_DOCUMENT),
            message_id=message_id,
            repositories=entry.repositories if entry else (),
            domains=entry.domains if entry else (),
            assertion=octets,
        )

    def _check(self, node: Node) -> None:
        if self._tls and not (node.subject or node.fingerprint):
            raise SecurityFault("FailedAuthentication", "the node showed no certificate")
        if self._mode is XuaMode.OFF and not node.is_on_this_machine:
            raise SecurityFault("FailedAuthentication", "assertions are off, which is for this machine alone")

    async def _user(
        self, endpoint: str, security_header: Element | None, bearer: str | None
    ) -> tuple[User | None, bytes]:
        if self._mode is XuaMode.OFF or (security_header is None and bearer is None):
            return None, b""
        now = self._clock()
        assertion = self._assertion(security_header, bearer, now)
        user_assertion = self._verifier.verify(assertion, now, endpoint=endpoint)
        if self._passes_on:
            return user_assertion.user, etree.tostring(assertion, with_tail=False)
        if user_assertion.one_time_use:
            try:
                await self._use(user_assertion, now)
            except SecurityFault as fault:
                fault.claimed = claimed_name(assertion)
                raise
        return user_assertion.user, b""

    async def _user_of_token(self, token: str, endpoint: str, node: Node, needed: NeededScope) -> User | None:
        if self._mode is XuaMode.OFF:
            return None
        if self._passes_on:
            raise SecurityFault("UnsupportedSecurityToken", "an assertion is needed, which can be passed on")
        if self._tokens is None:
            raise SecurityFault(
                "FailedAuthentication", "no issuer of tokens is believed (XDSI_TOKEN__ISSUERS)"
            )
        verified = await self._tokens.verify(
            token, self._clock(), endpoint=endpoint, node=node, needed=needed
        )
        if verified.proof is not None:
            await used_once(verified.proof, self._proofs)
        return verified.user

    async def _use(self, verified: VerifiedAssertion, now: datetime) -> None:
        ends = (verified.window.not_on_or_after or now) + self._verifier.skew
        if not await self._once.use(key_of(verified.user.issuer, verified.user.assertion_id), ends):
            raise SecurityFault("InvalidSecurityToken", "an assertion for one use was used before")

    def _assertion(self, security_header: Element | None, bearer: str | None, now: datetime) -> Element:
        if security_header is None:
            return assertion_of_bearer(bearer or "")
        if bearer is not None:
            raise SecurityFault(
                "InvalidSecurity", "a request carries a Security header or a bearer token, not both"
            )
        assertion = assertion_of(security_header)
        check_timestamp(security_header, now, self._verifier.skew)
        return assertion


def is_jwt(token: str) -> bool:
    """Whether a bearer token is a JWT: it has two dots, and an assertion in base64url none."""
    return token.count(".") == 2


def _token_verifier(settings: ServiceSettings) -> TokenVerifier | None:
    """What verifies tokens, where an issuer of them is believed; its libraries are read there alone."""
    if not settings.token.issuers:
        return None
    from shared.security.access_token import TokenVerifier

    return TokenVerifier(settings)


def assertion_of_bearer(token: str) -> Element:
    """The assertion in a bearer token (IUA, SAML Token option): base64url without padding.

    Raises
    ------
    SecurityFault
        InvalidSecurity: it cannot be read.
    """
    if len(token) > MAX_BYTES * 4 // 3 + 4:
        raise SecurityFault("InvalidSecurityToken", f"the assertion is larger than {MAX_BYTES} bytes")
    if not _BASE64URL.fullmatch(token) or len(token) % 4 == 1:
        raise SecurityFault("InvalidSecurity", "the bearer token is not base64url without padding")
    try:
        return parse(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except XmlError as error:
        raise SecurityFault("InvalidSecurity", str(error)) from None
