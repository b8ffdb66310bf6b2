"""Who is at one of our own doors, the interfaces for nodes beside SOAP: admitted by the right of the node, or
refused and recorded."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from shared.audit.refusals import Refusals
from shared.faults import NodeRefused, SecurityFault
from shared.http.address import called
from shared.http.problem import Forbidden, Unauthorized
from shared.http.raw_asgi import node_of
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """Admits nodes at the doors of one service."""

    authenticator: Authenticator
    refusals: Refusals
    public_url: str | None

    async def admit(self, scope: MutableMapping[str, Any], door: str) -> Caller:
        """The node that asks at `door`, which may speak for itself or for a user with a bearer token.

        Raises
        ------
        Unauthorized
            It is not proved who asks.
        Forbidden
            The node may not; the text says which setting would let it in.
        AuditUnavailable
            The refusal cannot be recorded.
        """
        address = scope["client"][0] if scope.get("client") else ""
        scheme, _, token = _authorization(scope).partition(" ")
        try:
            node = node_of(scope)
        except SecurityFault as fault:
            await self.refusals.node(address, fault.detail)
            raise Unauthorized(fault.reason) from None
        try:
            return await self.authenticator.caller(
                node,
                door=door,
                endpoint=called(scope, self.public_url),
                bearer=token.strip() if scheme.lower() == "bearer" else None,
                speaker_is_user=False,
            )
        except NodeRefused as fault:
            await self.refusals.node(address, fault.detail)
            raise Forbidden(fault.reason) from None
        except SecurityFault as fault:
            await self.refusals.user(fault, node, transaction=door)
            raise Unauthorized(fault.reason) from None


def _authorization(scope: MutableMapping[str, Any]) -> str:
    given: bytes = dict(scope["headers"]).get(b"authorization", b"")
    return given.decode("latin-1")
