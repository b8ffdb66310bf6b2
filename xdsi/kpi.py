"""`xdsi kpi`: what a manager of a PACS asks every month: volumes, publications, times of retrieval."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import httpx2
import typer
from prometheus_client.parser import text_string_to_metric_families

from imaging_source.maintenance.figures import Figures, figures
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.publications import PublicationState
from shared.http.client import http_client
from shared.store.snapshot import open_reader
from xdsi.audit_client import moment
from xdsi.configuration import load
from xdsi.listing import Column, counted, show
from xdsi.options import AsJson, Config

RETRIEVALS = ("RAD-69", "RAD-107", "RAD-55")
_HALF, _MOST = 0.5, 0.95
_SECONDS = "xdsi_transaction_seconds"

_VOLUMES = (Column("modality"), Column("studies"), Column("instances"), Column("GB"))
_TIMES = (Column("what"), Column("number"), Column("half within"), Column("95 of 100 within"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long so many of something took: half of them, and 95 of 100, within so many seconds."""

    number: int
    half: float
    most: float


def command(
    since: Annotated[str, typer.Option(help="2030-05-04, or so long ago: 90d, 12h.")] = "30d",
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Show what the imaging source received and published, and how fast it gives it back.

    Volumes and publications are counted in its database, since a moment. Times of retrieval, until the first
    byte, are those that the running service has counted since its start; without it they are left out.
    Nothing here tells of a patient.

    Example: [bold]xdsi kpi --since 30d[/bold]
    """
    begin = moment(since, "--since") or datetime.fromtimestamp(0, UTC)
    numbers, retrievals = asyncio.run(_asked(load(ImagingSourceSettings, config), begin))
    registration = times_of(numbers.registration_seconds)
    if as_json:
        typer.echo(json.dumps(_json(begin, numbers, registration, retrievals), indent=2))
        return
    instances, size = (sum(getattr(one, name) for one in numbers.volumes) for name in ("instances", "bytes"))
    typer.echo(
        f"since {begin:%Y-%m-%d %H:%M} UTC: {counted(numbers.studies, 'study', 'studies')}, "
        f"{counted(instances, 'instance')}, {size / 1e9:,.2f} GB"
    )
    show(
        _VOLUMES,
        [(one.modality, one.studies, one.instances, f"{one.bytes / 1e9:,.2f}") for one in numbers.volumes],
    )
    typer.echo("publications: " + (_publications(numbers.publications) or "none"))
    show(
        _TIMES,
        [
            *([("registration of a manifest", *_cells(registration))] if registration else []),
            *((f"{name}, first byte", *_cells(times)) for name, times in retrievals.items()),
        ],
    )


def _publications(states: Mapping[str, int]) -> str:
    """Counts in the order of the states; what failed is told also when there is none of it."""
    failed = (PublicationState.REFUSED, PublicationState.ABANDONED)
    shown = {state: states.get(state, 0) for state in PublicationState}
    return ", ".join(
        f"{number:,} {state}" for state, number in shown.items() if number or (states and state in failed)
    )


def _cells(times: Times) -> tuple[str, str, str]:
    return f"{times.number:,}", f"{times.half:.3g} s", f"{times.most:.3g} s"


def _json(
    begin: datetime, numbers: Figures, registration: Times | None, retrievals: Mapping[str, Times]
) -> dict[str, Any]:
    return {
        "since": begin.isoformat(),
        "studies": numbers.studies,
        "volumes": [{name: getattr(one, name) for name in one.__slots__} for one in numbers.volumes],
        "publications": {state.value: numbers.publications.get(state, 0) for state in PublicationState},
        "registration": _seconds(registration) if registration else None,
        "retrievals": {name: _seconds(times) for name, times in retrievals.items()},
    }


def _seconds(times: Times) -> dict[str, float]:
    return {"number": times.number, "half_seconds": times.half, "most_seconds": times.most}


async def _asked(settings: ImagingSourceSettings, since: datetime) -> tuple[Figures, dict[str, Times]]:
    async with open_reader(settings.database_url, folder=settings.folder) as index:
        numbers = await figures(index, since)
    return numbers, await _retrievals(settings)


async def _retrievals(settings: ImagingSourceSettings) -> dict[str, Times]:
    """Times of retrieval by transaction; empty when the service does not answer."""
    base = settings.dicomweb_url.removesuffix("/dicomweb")
    async with http_client(settings.tls, peers=(base,)) as http:
        try:
            answer = await http.get(f"{base}/metrics")
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            typer.echo(f"{base} does not tell its times of retrieval: {error}", err=True)
            return {}
    counted_by_bound = bounds_of(answer.text)
    return {
        name: times
        for name in RETRIEVALS
        if (times := times_within(counted_by_bound.get(name, ()))) is not None
    }


# --- times ----------------------------------------------------------------------------------------------


def times_of(seconds: Sequence[float]) -> Times | None:
    """The times of what took so many `seconds`, in ascending order; none of nothing."""
    if not seconds:
        return None
    last = len(seconds) - 1
    return Times(number=len(seconds), half=seconds[round(_HALF * last)], most=seconds[round(_MOST * last)])


def bounds_of(metrics: str) -> dict[str, list[tuple[float, float]]]:
    """By transaction, how many took at most so many seconds, in ascending order; from Prometheus' text."""
    bounds: dict[str, list[tuple[float, float]]] = {}
    for family in text_string_to_metric_families(metrics):
        if family.name == _SECONDS:
            for sample in family.samples:
                if sample.name == f"{_SECONDS}_bucket":
                    of = bounds.setdefault(sample.labels["transaction"], [])
                    of.append((float(sample.labels["le"]), sample.value))
    return {transaction: sorted(of) for transaction, of in bounds.items()}


def times_within(bounds: Sequence[tuple[float, float]]) -> Times | None:
    """The times of what a histogram has counted; none when that is nothing."""
    number = bounds[-1][1] if bounds else 0
    if not number:
        return None
    half, most = (next(_bound(bounds, share * number)) for share in (_HALF, _MOST))
    return Times(number=int(number), half=half, most=most)


def _bound(bounds: Sequence[tuple[float, float]], rank: float) -> Iterator[float]:
    """The seconds within which `rank` of them were done, evenly within a bucket; the last has no end."""
    before, fewer = 0.0, 0.0
    for seconds, number in bounds:
        if number >= rank:
            width = 0.0 if seconds == float("inf") else seconds - before
            yield before + width * (rank - fewer) / (number - fewer)
        before, fewer = seconds, number
