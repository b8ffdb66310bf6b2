"""Who is let in over HTTP: a caller that is proved, or a refusal that is recorded before it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.audit.refusals import Refusals
from shared.faults import NodeRefused, SecurityFault
from shared.http.problem import Forbidden
from shared.http.raw_asgi import Scope, node_of
from shared.rest.scheme import Scheme
from shared.security.caller import Node

Proved = TypeVar("Proved")


async def entered(
    scope: Scope,
    prove: Callable[[Node], Awaitable[Proved]],
    *,
    refusals: Refusals,
    scheme: Scheme,
    token: str | None,
    door: str = "",
) -> Proved:
    """What `prove` finds out about the node of a connection, which names its user by `token` of `scheme`.

    Raises
    ------
    Unauthorized
        The node or its user is not proved.
    Forbidden
        The node has not the right, whoever its user is.
    """
    try:
        node = node_of(scope)
    except SecurityFault as fault:
        await refusals.node(scope["client"][0] if scope.get("client") else "", fault.detail)
        raise scheme.refusal(fault, None) from None
    try:
        return await prove(node)
    except NodeRefused as fault:
        await refusals.node(node.address, fault.detail)
        raise Forbidden(fault.reason) from None
    except SecurityFault as fault:
        await refusals.user(fault, node, transaction=door)
        raise scheme.refusal(fault, token) from None
