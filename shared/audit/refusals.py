"""Refusals, counted: what strangers cause stands in the trail and cannot fill it.

Of one address and one minute the first refusal is recorded at once, all further ones together, with their
number, when the minute is over. The same holds for all addresses beyond the first hundred together, so that
memory and trail are bounded whoever comes. A user whom a node with the right to ask names is counted alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from shared.audit.events import AuditEvent
from shared.audit.node_events import node_authentication_failure, user_authentication_failure
from shared.audit.spool import AuditUnavailable
from shared.faults import SecurityFault
from shared.security.caller import Node
from shared.store.failures import DatabaseError
from shared.telemetry.log import logger

_log = logger(__name__)

MINUTE: Final = 60.0
"""Over which refusals are counted, where no setting says otherwise."""
#: What is counted apart in a minute, mostly addresses; and users that one address names.
MOST: Final = 100
USERS: Final = 20
# Reasons and claimed names that one record tells.
_TOLD: Final = 8
_LONGEST: Final = 80

Record = Callable[[Sequence[AuditEvent]], Awaitable[None]]
Made = Callable[[str], AuditEvent]
"""Makes the event of a refusal from its reason."""

_Key = tuple[str, str, str]


@dataclass(slots=True)
class _Counted:
    """What came after a refusal that was recorded; `made` makes the record of it."""

    made: Made
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    number: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    names: dict[str, None] = field(default_factory=dict)

    def add(self, reason: str, claimed: str) -> None:
        """Count one."""
        self.number += 1
        reason = reason[:_LONGEST]
        self.reasons[reason if reason in self.reasons or len(self.reasons) < _TOLD else "other reasons"] += 1
        if claimed and len(self.names) < _TOLD:
            self.names[claimed[:_LONGEST]] = None

    def event(self) -> AuditEvent:
        """The record of all of them."""
        reasons = ", ".join(f"{reason} ({number})" for reason, number in self.reasons.most_common())
        claimed = f"; claimed were {', '.join(self.names)}" if self.names else ""
        since = self.since.isoformat(timespec="seconds")
        return self.made(f"{self.number} more refusals since {since}: {reasons}{claimed}")


class Refusals:
    """Counts the refusals of one process over `seconds`; `record` keeps events durably. Of one event loop."""

    def __init__(self, record: Record, seconds: float = MINUTE) -> None:
        self._record = record
        self._seconds = seconds
        self._counted: dict[_Key, _Counted] = {}
        self._settling: asyncio.Task[None] | None = None

    async def node(self, address: str, reason: str) -> None:
        """A peer's TLS handshake, or its first words, were refused (ITI-19).

        Raises
        ------
        AuditUnavailable
            It is the first of its minute and cannot be recorded; so for all of these.
        """
        await self.event(address, reason, lambda text: node_authentication_failure(address, text))

    async def user(self, fault: SecurityFault, node: Node, *, transaction: str = "") -> None:
        """A request came without a user who can be believed (ITI-40); `transaction` is what it asked for."""
        reason = fault.subcode[1] if fault.subcode else fault.code
        if transaction:
            reason = f"{reason} ({transaction})"
        if fault.detail:
            reason = f"{reason}: {fault.detail}"
        # Whom a node claims that nobody named is its own choice, and makes no record of its own.
        name = fault.claimed if fault.of_a_known_node else ""
        await self.event(
            node.address,
            reason,
            lambda text: user_authentication_failure(claimed=name, node=node, reason=text),
            first=user_authentication_failure(claimed=fault.claimed, node=node, reason=reason),
            claimed=fault.claimed,
            name=name,
        )

    async def event(
        self,
        address: str,
        reason: str,
        made: Made,
        *,
        first: AuditEvent | None = None,
        claimed: str = "",
        name: str = "",
    ) -> None:
        """Any refusal of a peer; `first` is its own record where `made` would not tell all of it."""
        event = first or made(reason)
        key = self._key(event.event_id.code, _network(address), name)
        counted = self._counted.get(key)
        if counted is not None:
            counted.add(reason, claimed)
            return
        self._counted[key] = _Counted(made)
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_each_minute(), name="audit-refusals")
        try:
            await self._record((event,))
        except BaseException:
            self._counted.pop(key, None)
            raise

    def _key(self, kind: str, network: str, name: str) -> _Key:
        key = (kind, network, name[:_LONGEST])
        if name and key not in self._counted:
            users = sum(1 for _, other, user in self._counted if user and other == network)
            key = (kind, network, "") if users >= USERS else key
        if key in self._counted or len(self._counted) < MOST:
            return key
        return (kind, "", "")

    async def _settle_each_minute(self) -> None:
        while self._counted:
            await asyncio.sleep(self._seconds)
            await self.settle()

    async def settle(self) -> None:
        """Record what was counted; what cannot be recorded now stays counted."""
        counted, self._counted = self._counted, {}
        repeated = {key: one for key, one in counted.items() if one.number}
        if not repeated:
            return
        try:
            await self._record([one.event() for one in repeated.values()])
        except (AuditUnavailable, DatabaseError):
            _log.error("refusals cannot be recorded", number=sum(one.number for one in repeated.values()))
            self._put_back(repeated)
        except BaseException:
            self._put_back(repeated)
            raise

    def _put_back(self, repeated: dict[_Key, _Counted]) -> None:
        for key, one in repeated.items():
            if (later := self._counted.get(key)) is not None:
                one.number += later.number
                one.reasons += later.reasons
            self._counted[key] = one

    async def close(self) -> None:
        """Record what was counted, and count no more."""
        if self._settling is not None:
            self._settling.cancel()
            with suppress(asyncio.CancelledError):
                await self._settling
            self._settling = None
        await self.settle()


def _network(address: str) -> str:
    """By what an address is counted: of IPv6 the /64, in which one host has as many as it likes."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address[:_LONGEST]
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
