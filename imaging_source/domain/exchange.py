"""Who speaks in an exchange by DIMSE, as its audit events tell it."""

from __future__ import annotations

from dataclasses import dataclass

from shared.audit.events import Participant, entity_participants


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityAddress:
    """An application entity: its AE title, and the host at which it is."""

    title: str
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The entity that calls, and ours; `destination` is where instances go that are not for the caller."""

    calling: EntityAddress
    called: EntityAddress
    destination: EntityAddress | None = None

    def participants(self, *, pull: bool = False) -> tuple[Participant, ...]:
        """As the called entity records it; `pull` where data flow from it."""
        other = self.destination
        return entity_participants(
            calling=(self.calling.title, self.calling.host),
            called=(self.called.title, self.called.host),
            destination=None if other is None else (other.title, other.host),
            pull=pull,
        )
