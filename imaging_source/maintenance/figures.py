"""What came and what was published in a span of time, in numbers: of studies, never of patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, distinct, func, select

from imaging_source.store.publications import PublicationState, publication
from imaging_source.store.tables import instance
from shared.store.engine import Reader

_VOLUMES = (
    select(
        instance.c.modality,
        func.count(distinct(instance.c.study_instance_uid)),
        func.count(),
        func.sum(instance.c.size),
    )
    .where(instance.c.received_at >= bindparam("since"))
    .group_by(instance.c.modality)
    .order_by(instance.c.modality)
)
_STUDIES = select(func.count(distinct(instance.c.study_instance_uid))).where(
    instance.c.received_at >= bindparam("since")
)
_STATES = (
    select(publication.c.state, func.count())
    .where(publication.c.created >= bindparam("since"))
    .group_by(publication.c.state)
)
#: As many as an answer may take to be registered that are looked at, the latest.
_MOST = 10_000
_DURATIONS = (
    select(publication.c.changed - publication.c.created)
    .where(publication.c.created >= bindparam("since"), publication.c.state == bindparam("published"))
    .order_by(publication.c.created.desc())
    .limit(_MOST)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What came of one modality; a study of several counts for each."""

    modality: str
    studies: int
    instances: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers since a moment.

    `publications` counts manifests by their state; `registration_seconds` are the times, in ascending order,
    that manifests took from when they were made until the registry had them.
    """

    studies: int
    volumes: tuple[Volume, ...]
    publications: Mapping[str, int]
    registration_seconds: tuple[float, ...]


async def figures(index: Reader, since: datetime) -> Figures:
    """Count what came since a moment, which is aware."""
    milliseconds = int(since.timestamp() * 1000)
    # Times of instances are ISO 8601 in UTC, which are in the order of their text.
    [(studies,)] = await index.fetch(_STUDIES, since=since.isoformat())
    volumes = await index.fetch(_VOLUMES, since=since.isoformat())
    states = await index.fetch(_STATES, since=milliseconds)
    durations = await index.fetch(_DURATIONS, since=milliseconds, published=PublicationState.PUBLISHED.value)
    return Figures(
        studies=studies,
        volumes=tuple(
            Volume(modality=modality, studies=of, instances=instances, bytes=int(size))
            for modality, of, instances, size in volumes
        ),
        publications=dict(states),
        registration_seconds=tuple(sorted(each / 1000 for (each,) in durations)),
    )
