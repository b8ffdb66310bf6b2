"""How much there was to do in the last day, what of it failed, and how full what is written to is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from imaging_source.domain.load import HOUR_SECONDS, HOURS, Fill
from imaging_source.pages.page import PageUnit, in_bytes, look_served, shown
from imaging_source.store.load import arrivals
from imaging_source.unit import Parts
from shared.pages.browser import Browser
from shared.pages.page import PatientPage
from shared.settings.storage import storage_folder
from shared.store.space import space_of

_WIDTH: Final = 600
_HEIGHT: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour of a plot, in its coordinates, and what it says."""

    text: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One number by hour; `words` are all of it in words, `kind` how it is drawn."""

    name: str
    title: str
    bars: tuple[Bar, ...]
    most: str
    words: str
    kind: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened."""
        return not any(bar.height for bar in self.bars)


def plot_of(
    name: str,
    title: str,
    by_hour: Mapping[int, float],
    hours: Sequence[int],
    *,
    words: Callable[[float], str],
    kind: str = "",
) -> Plot:
    """A plot of what `by_hour` says of these hours; hours of which it says nothing are 0."""
    numbers = [by_hour.get(hour, 0) for hour in hours]
    most = max(numbers, default=0) or 1
    width = _WIDTH / len(hours)
    bars = tuple(
        Bar(
            text=f"{_clock(hour)}: {words(number)}",
            x=round(place * width + 1, 1),
            y=round(_HEIGHT - _HEIGHT * number / most, 1),
            width=round(width - 2, 1),
            height=round(_HEIGHT * number / most, 1),
        )
        for place, (hour, number) in enumerate(zip(hours, numbers, strict=True))
    )
    texts = [bar.text for bar in bars if bar.height]
    return Plot(
        name=name,
        title=title,
        bars=bars,
        most=words(max(numbers, default=0)),
        words="; ".join(texts) or "nothing",
        kind=kind,
    )


def _clock(hour: int) -> str:
    return f"{datetime.fromtimestamp(hour * HOUR_SECONDS, UTC):%H}:00"


async def load(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show plots of the last day, and what is full."""
    service = unit.parts.service
    now = int(time.time()) // HOUR_SECONDS
    hours = range(now - HOURS + 1, now + 1)
    arrived = await arrivals(service.database, datetime.fromtimestamp(hours[0] * HOUR_SECONDS, UTC))
    answers = unit.parts.answers.of_hours()
    plots = [
        plot_of(
            "images",
            "Images that came",
            {hour: one.instances for hour, one in arrived.items()},
            hours,
            words=lambda number: _number(number, "image"),
        ),
        plot_of(
            "bytes", "Their size", {hour: one.bytes for hour, one in arrived.items()}, hours, words=in_bytes
        ),
        plot_of(
            "answered",
            "Requests that were answered",
            {hour: one.answered for hour, one in answers.items()},
            hours,
            words=lambda number: _number(number, "request"),
        ),
        plot_of(
            "failed",
            "Requests that failed",
            {hour: one.failed for hour, one in answers.items()},
            hours,
            words=lambda number: _number(number, "failure"),
            kind="failed",
        ),
    ]
    values: dict[str, Any] = {
        "plots": plots,
        "fills": await asyncio.to_thread(lambda: [*fills_of(service)]),
        "clock": _clock(hours[0]),
        "first": f"{datetime.fromtimestamp(hours[0] * HOUR_SECONDS, UTC):%Y-%m-%d %H:%M}",
    }
    return await shown(unit, "load.html", browser, **values)


def _number(number: float, of: str) -> str:
    return f"{number:,.0f} {of}{'' if number == 1 else 's'}"


def fills_of(parts: Parts) -> Iterator[Fill]:
    """How full disks and spools are; blocks."""
    settings = parts.settings
    folders = {"the disk of XDSI_DATA": settings.folder}
    if (storage := storage_folder(settings.storage_url or "")) is not None:
        folders["the disk of XDSI_STORAGE_URL"] = storage
    if (cold := storage_folder(settings.cold_storage_url or "")) is not None:
        folders["the disk of XDSI_COLD_STORAGE_URL"] = cold
    devices: set[int] = set()
    for name, folder in folders.items():
        yield from _disk(name, folder, devices)
    spool_bytes = settings.audit.spool_max_bytes
    share = parts.recorder.spool.fill
    yield Fill(
        name="the spool of audit records (XDSI_AUDIT__SPOOL_MAX_BYTES)",
        used_bytes=int(share * spool_bytes),
        total_bytes=spool_bytes,
        is_short=share >= 0.9,
    )


def _disk(name: str, folder: Path, devices: set[int]) -> Iterator[Fill]:
    try:
        device, space = folder.stat().st_dev, space_of(folder)
    except OSError:
        yield Fill(name=f"{name}, which cannot be read,", used_bytes=0, total_bytes=0, is_short=True)
        return
    if device not in devices:
        devices.add(device)
        used = space.total_bytes - space.free_bytes
        yield Fill(name=name, used_bytes=used, total_bytes=space.total_bytes, is_short=space.is_short)


SERVED = (look_served(name="Load", route="GET /load", handle=load),)
