"""The registration of a provision as a state machine: what may happen to it, and what it is then.

The table is all there is: statements that change the state of a provision are made of it, and change nothing
where it has no line. `None` stands for a provision that is not there: not yet, or forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from repository.domain.provision import ProvisionState

_PENDING: Final = ProvisionState.PENDING
_IN_DOUBT: Final = ProvisionState.IN_DOUBT
_REGISTERED: Final = ProvisionState.REGISTERED
_REFUSED: Final = ProvisionState.REFUSED


class RegistrationEvent(StrEnum):
    """What happens to a provision."""

    PROVIDED = "provided"
    """Its documents are kept, and it is committed with them: the registry may be asked."""

    NEVER_HEARD = "never heard of"
    """The registry cannot have heard of it, or says that nothing was done: as if it had not come."""

    DOUBTED = "doubted"
    """An attempt has no answer, or is not the first: what the registry did is not known."""

    REGISTERED = "registered"
    """The registry has carried it out, by whichever attempt."""

    REFUSED = "refused"
    """The registry refuses it, and has not carried out an attempt before as far as is known."""

    RESTORED = "restored"
    """The registry was restored to a time that may be before it."""

    EXPIRED = "expired"
    """The time for retries is over: message and answer are forgotten."""

    DROPPED = "dropped"
    """The time for retries is over, and it holds no document: it is forgotten whole."""


@dataclass(frozen=True, slots=True)
class RegistrationTransition:
    """From each of `sources` an event leads to `target`."""

    sources: frozenset[ProvisionState | None]
    target: ProvisionState | None

    @property
    def states(self) -> tuple[ProvisionState, ...]:
        """The states among its sources, in order."""
        return tuple(state for state in ProvisionState if state in self.sources)


REGISTRATION: Final[Mapping[RegistrationEvent, RegistrationTransition]] = {
    event: RegistrationTransition(frozenset(sources), target)
    for event, sources, target in (
        (RegistrationEvent.PROVIDED, (None,), _PENDING),
        (RegistrationEvent.NEVER_HEARD, (_PENDING,), None),
        (RegistrationEvent.DOUBTED, (_PENDING,), _IN_DOUBT),
        # An attempt may be carried out though a later one was refused, and is answered again as before.
        (RegistrationEvent.REGISTERED, (_PENDING, _IN_DOUBT, _REFUSED, _REGISTERED), _REGISTERED),
        (RegistrationEvent.REFUSED, (_PENDING, _IN_DOUBT, _REFUSED), _REFUSED),
        (RegistrationEvent.RESTORED, (_REGISTERED,), _IN_DOUBT),
        (RegistrationEvent.EXPIRED, (_REGISTERED, _REFUSED), ProvisionState.SETTLED),
        (RegistrationEvent.DROPPED, (_REFUSED,), None),
    )
}


def may_happen(event: RegistrationEvent, state: ProvisionState | None) -> bool:
    """Whether the table has a line for `event` in `state`."""
    return state in REGISTRATION[event].sources
