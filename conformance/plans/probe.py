"""A probe: one requirement, asked of a system by one function; and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from conformance.findings import Finding

#: Asks a system: it is given the stand, and raises when the requirement is not met.
Ask = Callable[[Any], None]


class Unmet(Exception):
    """The system does not do what the requirement says; the text is the reason."""


class NotOffered(Exception):
    """The requirement cannot be asked of this system: it has no such option, or no such address was given."""


class Outcome(StrEnum):
    """What became of a probe."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    UNDECIDED = "undecided"
    """The system could not be asked: it was not reached, or answered what nobody can read."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One requirement.

    `id` is permanent; `purpose` says what is right; `option` is the option of the actor whom it concerns,
    empty for everybody; `needs` are the addresses without which it cannot be asked; `pack` is the national pack
    that it belongs to, empty for what is asked everywhere; `begin` starts, with the run, what it will need.
    """

    id: str
    actor: str
    clause: str
    purpose: str
    ask: Ask
    option: str = ""
    needs: tuple[str, ...] = ()
    pack: str = ""
    begin: Callable[[Any], object] | None = None


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One exchange of a probe, as the files that keep it, relative to the folder of the run."""

    title: str
    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one probe, and why; `findings` are errors that the validators see in what came."""

    probe: Probe
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    exchanges: tuple[Exchanged, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(slots=True)
class Plan:
    """The probes of one actor; a module makes one and states them with `requires`, or in a table."""

    actor: str
    needs: tuple[str, ...] = ()
    begin: Callable[[Any], object] | None = None
    probes: list[Probe] = field(default_factory=list)

    def requires(
        self, id: str, clause: str, *, option: str = "", needs: Iterable[str] = (), pack: str = ""
    ) -> Callable[[Ask], Ask]:
        """State that the function below asks the requirement `id`; its first line says what is right."""

        def state(ask: Ask) -> Ask:
            purpose = (ask.__doc__ or "").strip().splitlines()[0].rstrip(".")
            self.add(id, clause, purpose, ask, option=option, needs=needs, pack=pack)
            return ask

        return state

    def add(
        self,
        id: str,
        clause: str,
        purpose: str,
        ask: Ask,
        *,
        option: str = "",
        needs: Iterable[str] = (),
        pack: str = "",
    ) -> None:
        """State one row of a table."""
        if any(probe.id == id for probe in self.probes):
            raise ValueError(f"two probes are {id}")
        self.probes.append(
            Probe(id, self.actor, clause, purpose, ask, option, (*self.needs, *needs), pack, self.begin)
        )

    def __iter__(self) -> Iterator[Probe]:
        return iter(self.probes)


def expect(holds: object, reason: str) -> None:
    """Raise `Unmet` with `reason` unless `holds`."""
    if not holds:
        raise Unmet(reason)


def expect_equal(value: object, right: object, what: str) -> None:
    """Raise `Unmet` unless both are equal."""
    if value != right:
        raise Unmet(f"{what} is {value!r}; {right!r} would be right")
