"""The timeline of a patient: studies of every place that shares them, newest first, each with what helps to
choose: day, modality, region, place, number of images, a picture, its reports.

The studies of one page are opened for it, by their manifests; whoever may not see one sees nothing of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.domain.reports import FoundReport, of_study
from consumer.domain.studies import FoundStudy, date_of
from consumer.domain.study import Content
from consumer.front.reading_room import OpenStudy, ReadingRoom
from consumer.pages.workplace import StatedSearch, Workplace
from shared.ebrim.model import Code, DocumentEntry
from shared.http.problem import HttpProblem
from shared.pages.visitors import Visitor

STUDIES_OF_A_PAGE: Final = 12
# Of what is found, so that a hostile registry makes no page without an end.
_MOST_STUDIES: Final = 1_000
# Longer than that nobody waits for numbers and pictures.
_PATIENCE_SECONDS: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineReport:
    """A report and its handle."""

    report: FoundReport
    handle: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the manifests of a study say that it holds."""

    images: int
    series: int
    reports: int

    @classmethod
    def of(cls, study: OpenStudy) -> Contents:
        """Counted."""
        instances = study.instances.values()
        counted = Counter(Content.of(one.sop_class_uid) for one in instances)
        return cls(
            images=counted[Content.IMAGE],
            series=len({one.series_instance_uid for one in instances}),
            reports=counted[Content.REPORT],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineStudy:
    """One study: what its newest entry says, and what its manifests do.

    `contents` is None where they did not come, for `reason`. `date` is in UTC where the manifests do not say
    it (`date_in_utc`). `places` are institutions, `communities` the ids of others that have it.
    """

    study: FoundStudy
    handle: str
    date: str
    date_in_utc: bool
    places: tuple[str, ...]
    communities: tuple[str, ...]
    contents: Contents | None
    reason: str
    reports: tuple[TimelineReport, ...]

    @property
    def year(self) -> str:
        """The year, by which studies stand together; empty without a date."""
        return self.date[:4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """A page of the studies of a patient; `more` are those that are older, `reports` belong to none that was
    found, `unanswered` says who did not answer as it should."""

    studies: tuple[TimelineStudy, ...]
    reports: tuple[TimelineReport, ...]
    total: int
    position: int
    unanswered: tuple[str, ...]

    @property
    def next_position(self) -> int:
        """Where the page after this one begins; 0 when there is none."""
        following = self.position + len(self.studies)
        return following if following < self.total else 0


def with_purpose(visitor: Visitor, purpose: str) -> Visitor:
    """The visitor, with the one of their purposes that was stated as the only one."""
    user = visitor.user
    stated = tuple(one for one in user.purposes if str(one) == purpose) if user else ()
    if user is None or not stated:
        return visitor
    return replace(visitor, caller=replace(visitor.caller, user=replace(user, purposes=stated)))


def purposes_of(visitor: Visitor) -> tuple[Code, ...]:
    """The purposes that a visitor can state: those of the sign-in."""
    return visitor.user.purposes if visitor.user else ()


async def timeline(
    workplace: Workplace, room: ReadingRoom, visitor: Visitor, search: StatedSearch
) -> Timeline:
    """The page of the timeline that begins at the position of `search`."""
    (entries, unanswered), (reports, silent) = await asyncio.gather(
        workplace.entries(visitor, search.criteria), workplace.reports(visitor, search.criteria)
    )
    studies = _studies(entries[:_MOST_STUDIES])
    chosen = studies[search.position : search.position + STUDIES_OF_A_PAGE]
    opened = await asyncio.gather(*(_opened(room, visitor, of_one) for of_one in chosen))
    of_studies = {one.entry_uuid for of_one in studies for one in of_study(reports, of_one)}

    def with_handles(of: Iterable[DocumentEntry]) -> tuple[TimelineReport, ...]:
        return tuple(
            TimelineReport(report=FoundReport.of(one), handle=workplace.report_handle(visitor, one))
            for one in of
        )

    return Timeline(
        studies=tuple(
            _study(workplace, visitor, of_one, study, with_handles(of_study(reports, of_one)))
            for of_one, study in zip(chosen, opened, strict=True)
        ),
        reports=with_handles(one for one in reports if one.entry_uuid not in of_studies),
        total=len(studies),
        position=search.position,
        unanswered=tuple(dict.fromkeys((*unanswered, *silent))),
    )


def _studies(entries: Sequence[DocumentEntry]) -> list[list[DocumentEntry]]:
    """The entries of each study, newest first; one without a UID is a study of its own."""
    studies: dict[str, list[DocumentEntry]] = {}
    for entry in entries:
        uid = FoundStudy.of(entry).study_instance_uid
        studies.setdefault(uid or entry.entry_uuid, []).append(entry)
    return list(studies.values())


async def _opened(room: ReadingRoom, visitor: Visitor, entries: Sequence[DocumentEntry]) -> OpenStudy | str:
    """The study by its manifests, or why it could not be opened."""
    uid = FoundStudy.of(entries[0]).study_instance_uid
    if not uid:
        return ""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            return await room.study_of(visitor, uid, entries)
    except TimeoutError:
        return "it takes long to open; what it holds is told when you open it"
    except HttpProblem as problem:
        return problem.detail


def _study(
    workplace: Workplace,
    visitor: Visitor,
    entries: Sequence[DocumentEntry],
    opened: OpenStudy | str,
    reports: tuple[TimelineReport, ...],
) -> TimelineStudy:
    newest = FoundStudy.of(entries[0])
    described = list(map(FoundStudy.of, entries))
    by_manifest = opened.date if isinstance(opened, OpenStudy) else ""
    own = ("", workplace.home_community_id)
    return TimelineStudy(
        study=replace(newest, modalities=_each(one.modalities for one in described)),
        handle=workplace.manifest_handle(visitor, entries[0]),
        date=date_of(by_manifest) or newest.date,
        date_in_utc=not by_manifest and len(newest.service_start_time) > len("YYYYMMDD"),
        places=_each((one.institution,) for one in described),
        communities=_each((one.home_community_id,) for one in described if one.home_community_id not in own),
        contents=Contents.of(opened) if isinstance(opened, OpenStudy) else None,
        reason=opened if isinstance(opened, str) else "",
        reports=reports,
    )


def _each(values: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for of in values for one in of if one))
