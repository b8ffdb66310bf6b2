"""Who asks this service: a node, and the user whose own assertion it brings along.

The assertion is verified here as by every other service, and passed on to them as it came: this service never
speaks for a user by itself. Without a user only nodes of this community are served, where assertions are
optional at all.
"""

from __future__ import annotations

import json
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace

from lxml import etree

from shared.audit.recorder import AuditRecorder
from shared.faults import SecurityFault
from shared.http.problem import Unauthorized
from shared.http.raw_asgi import Scope
from shared.rest.entrance import entered
from shared.security.authenticator import Authenticator, assertion_of_bearer
from shared.security.caller import Caller, Node, User
from shared.security.rights import Right
from shared.security.xua import MAX_BYTES

HOW = (
    "send the user's own SAML 2.0 assertion for this affinity domain: "
    "Authorization: SAML <base64 of the assertion>"
)
_MOST_CHARACTERS = MAX_BYTES * 4 // 3 + 4


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
        node, user = self.caller.node, self.caller.user
        place = node.fingerprint or node.subject or node.address
        return json.dumps([place, *((user.issuer, user.name_id) if user else ())])


class Reception:
    """Admits visitors; every refusal is recorded before it is told."""

    def __init__(self, authenticator: Authenticator, recorder: AuditRecorder, endpoint: str) -> None:
        self._authenticator = authenticator
        self._recorder = recorder
        self._endpoint = endpoint

    async def admit(self, scope: Scope, assertion: bytes) -> Visitor:
        """The visitor who came by the connection of `scope` with `assertion`, an XML document.

        Raises
        ------
        Unauthorized
            The assertion is not accepted.
        Forbidden
            The node may not ask here, whoever its user is.
        """
        token = urlsafe_b64encode(assertion).rstrip(b"=").decode()
        return await entered(
            scope,
            lambda node: self._verified(node, token),
            refusals=self._recorder.refusals,
            scheme=SAML,
            token=token,
        )

    async def caller(
        self,
        node: Node,
        *,
        door: str,
        right: Right,
        endpoint: str,
        bearer: str | None,
        speaker_is_user: bool,
    ) -> Caller:
        """The caller of a request of a program, with the assertion that is passed on; raises
        `SecurityFault`. Assertions are for this service, whatever is asked of it."""
        return (await self._verified(node, bearer)).caller

    async def without_user(self, node: Node) -> Visitor | None:
        """The node by itself, or None where a user is needed; not recorded: nobody claims anything."""
        try:
            return await self._verified(node, None)
        except SecurityFault:
            return None

    async def _verified(self, node: Node, token: str | None) -> Visitor:
        caller = await self._authenticator.caller(
            node, door="consumer", endpoint=self._endpoint, bearer=token, speaker_is_user=True
        )
        if caller.user is None and not caller.community_node:
            raise SecurityFault("InvalidSecurity", "a node of another community came without a user")
        if caller.user is None or not token:
            return Visitor(caller=caller)
        octets = _octets(token)
        return Visitor(caller=replace(caller, assertion=octets), assertion=octets)


def _octets(token: str) -> bytes:
    """The assertion as it was verified, without what may stand around the element in a file."""
    return bytes(etree.tostring(assertion_of_bearer(token), with_tail=False))


class Saml:
    """`SAML <base64 of the assertion>`, by which programs name their user."""

    def token(self, authorization: str) -> str | None:
        """What the header holds; what cannot be read becomes an assertion that nobody accepts."""
        if not authorization:
            return None
        scheme, _, text = authorization.partition(" ")
        readable = scheme.lower() == "saml" and len(text) <= _MOST_CHARACTERS
        return _base64url(text.strip()) if readable else ""

    def refusal(self, fault: SecurityFault, token: str | None) -> Unauthorized:
        """With what to send."""
        if token is None:
            return Unauthorized(f"a user's assertion is needed; {HOW}")
        reason = fault.subcode[1] if fault.subcode else ""
        return Unauthorized(f"the assertion is not accepted ({reason}); {HOW}")


SAML = Saml()


def _base64url(text: str) -> str:
    try:
        return urlsafe_b64encode(b64decode(text, validate=True)).rstrip(b"=").decode()
    except ValueError:
        return ""
