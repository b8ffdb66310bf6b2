"""Which nodes may ask at which of the two gateways (audit-trail and node authentication, ITI TF-1 9)."""

from __future__ import annotations

from gateway.unit import Unit
from shared.faults import SecurityFault


def admit_consumer(unit: Unit) -> None:
    """Refuse the gateway of another community at our Initiating Gateway: it asks communities itself.

    Raises
    ------
    SecurityFault
        The node is one.
    """
    if _homes(unit):
        raise SecurityFault(
            "FailedAuthentication", "the gateway of another community asks at the Responding Gateway"
        )


def admit_gateway(unit: Unit) -> None:
    """Let in known gateways alone once some are named, each for users of its own community.

    Raises
    ------
    SecurityFault
        The node is none of them, or the assertion is of another community.
    """
    if not (unit.parts.gateways or unit.parts.rights.register):
        return
    if unit.parts.rights.register and unit.caller.community_node:
        return
    homes = _homes(unit)
    if not homes:
        raise SecurityFault("FailedAuthentication", "the node is not the gateway of a community known here")
    user = unit.caller.user
    if user is not None and user.home_community_id not in ("", *homes):
        raise SecurityFault("InvalidSecurityToken", "the assertion is not of the community of this gateway")


def _homes(unit: Unit) -> list[str]:
    node = unit.caller.node
    if unit.parts.rights.register:
        entry = unit.parts.rights.entry(node)
        return [] if entry is None else list(entry.asks_for)
    return [home for home, nodes in unit.parts.gateways.items() if node in nodes]
