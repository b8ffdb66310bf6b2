"""Several processes of one registry at one port: each is like any other, as hosts at one database are.

They share what PostgreSQL keeps, and nothing else; what is done once is done by whoever has the right to it
(`shared.store.sole.Sole`). Each has a spool for audit events of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.settings import RegistrySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """Which of the processes of this host this is; the only one is number 0, too."""

    number: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that speaks for the application of this host: its start, its stop, and the
        spools of workers that there are no more."""
        return self.number == 0

    @property
    def spool(self) -> str:
        """The name of its audit spool's folder."""
        return "audit" if self.is_first else f"audit-{self.number}"


def spools_left_behind(settings: RegistrySettings) -> list[str]:
    """Spools of workers that there are no more, whose events are still to be sent."""
    spools = {path.name: path.name.removeprefix("audit-") for path in settings.folder.glob("audit-*")}
    return sorted(
        name for name, number in spools.items() if number.isdecimal() and int(number) >= settings.workers
    )
