"""Who is let in over HTTP: a caller that is proved, or a refusal that is recorded before it is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from shared.audit.refusals import Refusals
from shared.faults import NodeRefused, SecurityFault
from shared.http.problem import Forbidden, HttpProblem, Unauthorized
from shared.http.raw_asgi import node_of
from shared.rest.message import HttpRequest
from shared.rest.scheme import Scheme
from shared.security.caller import Node

Proved = TypeVar("Proved")


async def entered(
    request: HttpRequest,
    prove: Callable[[Node, str | None], Awaitable[Proved]],
    *,
    scheme: Scheme,
    refusals: Refusals,
    door: str,
) -> Proved:
    """What `prove` finds out about the node of a request, and about the token by which it names its user.

    Raises
    ------
    HttpProblem
        As `proved` does, with what `scheme` tells.
    Unauthorized
        The certificate of the node cannot be read.
    """
    try:
        node = node_of(request.scope)
    except SecurityFault as fault:
        client = request.scope.get("client")
        await refusals.node(client[0] if client else "", fault.detail)
        raise Unauthorized(fault.reason) from None
    token = scheme.token(request)
    return await proved(
        prove(node, token),
        node,
        refusals=refusals,
        refusal=partial(scheme.refusal, request=request),
        door=door,
        invited=scheme.invites and token is None,
    )


async def proved(
    proof: Awaitable[Proved],
    node: Node,
    *,
    refusals: Refusals,
    refusal: Callable[[SecurityFault], HttpProblem],
    door: str,
    invited: bool = False,
) -> Proved:
    """What `proof` comes to; `invited` is who may ask and has not said yet for whom.

    Raises
    ------
    HttpProblem
        What `refusal` makes of it: the node or its user is not proved.
    Forbidden
        The node has not the right, whoever its user is.
    """
    try:
        return await proof
    except NodeRefused as fault:
        await refusals.node(node.address, fault.detail)
        raise Forbidden(fault.reason) from None
    except SecurityFault as fault:
        if not (invited and fault.of_a_known_node):
            await refusals.user(fault, node, transaction=door)
        raise refusal(fault) from None
