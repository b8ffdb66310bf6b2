"""The first page: what needs a person, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imaging_source.pages.certificates import SOON_DAYS, certificates_of
from imaging_source.pages.load import fills_of
from imaging_source.pages.page import PageUnit, look_served, shown
from imaging_source.store import imaging_reports
from imaging_source.store.drift import count_open
from imaging_source.store.publications import (
    PublicationState,
    count_last_publications,
    now_ms,
    oldest_waiting,
)
from imaging_source.store.set_aside import find_set_aside
from shared.pages.browser import Browser
from shared.pages.page import PatientPage

#: States of the last publication of a study that somebody may have to look at.
_COUNTED: Final = (PublicationState.WAITING, PublicationState.REFUSED, PublicationState.ABANDONED)
_MOST_ASIDE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Something for a person: what it is, why, and the page where it is mended."""

    what: str
    why: tuple[str, ...]
    path: str


async def overview(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show what waits for a person."""
    parts = unit.parts.service
    counts = await count_last_publications(parts.database, states=_COUNTED)
    oldest = await oldest_waiting(parts.database)
    drifted = await count_open(parts.database)
    aside = len(await find_set_aside(parts.database, limit=_MOST_ASIDE))
    reports = await imaging_reports.count_open(parts.database)
    tasks = [
        *_of_publications(counts[PublicationState.REFUSED], counts[PublicationState.ABANDONED]),
        *_of_studies(drifted, aside),
        *_of_reports(reports.for_persons),
        *await asyncio.to_thread(lambda: [*_of_the_machine(unit)]),
    ]
    return await shown(
        unit,
        "overview.html",
        browser,
        tasks=tasks,
        waiting=counts[PublicationState.WAITING],
        oldest_minutes=0 if oldest is None else max(0, now_ms() - oldest) // 60_000,
    )


def _of_publications(refused: int, abandoned: int) -> Iterator[Task]:
    if refused:
        yield Task(
            what=f"{_counted(refused, 'study', 'studies')} refused by the repository or the registry",
            why=("Other hospitals do not see them. Each says why, and can be sent again.",),
            path="/publications?state=refused",
        )
    if abandoned:
        yield Task(
            what=f"{_counted(abandoned, 'study', 'studies')} given up after a day",
            why=("Nobody knows whether they are registered. Send them when the registry answers again.",),
            path="/publications?state=abandoned",
        )


def _of_studies(drifted: int, aside: int) -> Iterator[Task]:
    if drifted:
        yield Task(
            what=f"{_counted(drifted, 'manifest', 'manifests')} no longer true",
            why=("Somebody has to decide what is right.",),
            path="/drift",
        )
    if aside:
        yield Task(
            what=f"{_counted(aside, 'image', 'images')} set aside",
            why=("They name another patient, or reject what is not theirs. Nobody is given them.",),
            path="/set-aside",
        )


def _of_reports(undecided: int) -> Iterator[Task]:
    if undecided:
        yield Task(
            what=f"{_counted(undecided, 'report', 'reports')} not registered beside the images",
            why=("The registry refused them, or they name another patient than their study.",),
            path="/reports",
        )


def _of_the_machine(unit: PageUnit) -> Iterator[Task]:
    service = unit.parts.service
    if damaged := len(service.damages):
        yield Task(
            what=f"{_counted(damaged, 'image', 'images')} lost or damaged on disk",
            why=("They are not given. Send them again, or restore them.",),
            path="/doctor",
        )
    for fill in fills_of(service):
        if fill.is_short:
            yield Task(what=f"{fill.name} is full", why=("Nothing new is kept.",), path="/load")
    for one in certificates_of(service.settings):
        if one.problem or one.days < SOON_DAYS:
            yield Task(
                what=f"{one.setting}: {one.problem or f'ends in {one.days} days'}",
                why=("Renew it before it ends: peers refuse who shows one that has.",),
                path="/certificates",
            )
    if troubles := unit.parts.troubles():
        yield Task(what="the service is not ready for work", why=tuple(troubles), path="/doctor")


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


SERVED = (look_served(name="Source overview", route="GET /", handle=overview),)
