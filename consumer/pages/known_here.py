"""Who a patient is in the own hospital, as its PIX manager says: an id is offered, and a person takes it."""

from __future__ import annotations

from dataclasses import dataclass

from consumer.front.problems import asking
from consumer.pages.page import PageUnit
from shared.http.problem import HttpProblem


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownHere:
    """The ids that the manager told, or by `problem` why it told nothing."""

    ids: tuple[str, ...] = ()
    problem: str = ""

    @property
    def only(self) -> str:
        """The id, where there is exactly one; among several nobody but a person chooses."""
        return self.ids[0] if len(self.ids) == 1 else ""


async def known_here(unit: PageUnit, patient_id: str) -> KnownHere | None:
    """Ask for the ids of a patient (ITI-83); None where no manager is set."""
    parts = unit.parts
    if parts.workplace.settings.pix_url is None:
        return None
    try:
        async with asking("the PIX manager", parts.workplace.settings.answer_seconds):
            return KnownHere(ids=await parts.room.consumer(unit.visitor).local_ids(patient_id))
    except HttpProblem as problem:
        return KnownHere(problem=problem.detail)
