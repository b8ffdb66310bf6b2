"""What archives have of a study is known here before it is given: for every door alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imaging_source.archives.archives import Comparison
from imaging_source.unit import Parts, Unit
from shared.consent.decision import Action
from shared.errors import XdsError
from shared.http.problem import HttpProblem, Unavailable


class ArchiveSilent(XdsError):
    """An archive did not give what it lists, or did not answer, and nothing is known of the study."""


async def compare(
    unit: Unit, study_instance_uid: str, sop_instance_uid: str = "", action: Action = Action.RETRIEVE
) -> None:
    """Compare a study with the archives before all of it is given, or one instance of it.

    Raises
    ------
    ArchiveSilent
        What would be given was not all that there is.
    """
    await _check(
        unit.parts, study_instance_uid, sop_instance_uid, await unit.compare(study_instance_uid, action)
    )


async def compare_for_us(parts: Parts, study_instance_uid: str) -> None:
    """As `compare`, for what is done by ourselves."""
    await _check(parts, study_instance_uid, "", await parts.archives.compare(study_instance_uid))


async def _check(
    parts: Parts, study_instance_uid: str, sop_instance_uid: str, comparison: Comparison
) -> None:
    if not comparison.reason:
        return
    if comparison.missing:
        if not sop_instance_uid or sop_instance_uid in comparison.missing:
            raise ArchiveSilent(comparison.reason)
        return
    # Nobody could be asked: what is known is what was there last.
    if not await parts.instances.find_study(study_instance_uid):
        raise ArchiveSilent(comparison.reason)


#: How it is told over HTTP.
PROBLEMS: Mapping[type[Exception], Callable[[str], HttpProblem]] = {ArchiveSilent: Unavailable}
