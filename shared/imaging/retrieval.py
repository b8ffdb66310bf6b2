"""What RAD-69 and RAD-107 share: from instances to the bytes that are sent, and the events of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, repeat
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from shared.alike import alike
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.dicom.part10 import DicomError
from shared.http.pieces import FileRange, Piece
from shared.imaging.frames import FramesUnclear, known_frames, scanned_frames
from shared.imaging.holding import HoldingUnit
from shared.imaging.instance import Instance
from shared.imaging.rendering import Rendering, TooManyPixels
from shared.imaging.transfer_syntax import AsStored, Choice, Impossible, Transcode
from shared.security.caller import Caller
from shared.telemetry.log import logger

_log = logger(__name__)

_AT_ONCE: Final = 4
UID_OF: Final = attrgetter("sop_instance_uid")
# All of an instance on which it depends how it can be given.
_KIND_OF = attrgetter(
    "transfer_syntax_uid",
    "has_pixels",
    "rows",
    "columns",
    "samples_per_pixel",
    "number_of_frames",
    "bits_allocated",
)


class InstanceResult(NamedTuple):
    """What became of one instance that was asked for; a tuple, because an answer has hundreds.

    `failure` is empty for what is delivered, and else the reason for the trail. `patient_id` is a CX, empty
    when it is not known; of an unknown instance only its UIDs are.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    patient_id: str = ""
    failure: str = ""
    repository_unique_id: str = ""
    home_community_id: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An instance whose bytes cannot be given: its file is damaged, or there is no room to transcode it."""

    reason: str


class Undecodable(Unreadable):
    """An instance that can be given as it is stored, and in no other transfer syntax."""


def choices(
    instances: Iterable[Instance], choose: Callable[[Instance], Choice]
) -> list[tuple[Instance, Choice]]:
    """How each of `instances` is given; those of a study are mostly alike, and what is chosen for one is
    chosen for all that are like it.
    """
    of_kind: dict[tuple[object, ...], Choice] = {}
    answer: list[tuple[Instance, Choice]] = []
    for kind, run in groupby(instances, _KIND_OF):
        ones = list(run)
        if (choice := of_kind.get(kind)) is None:
            choice = of_kind[kind] = choose(ones[0])
        answer += zip(ones, repeat(choice))
    return answer


# --- bytes -------------------------------------------------------------------------------------------


async def files(
    unit: HoldingUnit, chosen: Sequence[tuple[Instance, Choice]]
) -> Mapping[str, Piece | Unreadable]:
    """The bytes of instances as they were chosen to be given, by SOP Instance UID; each is a whole file.

    What is `Impossible` is left out.
    """
    possible = [instance for instance, choice in chosen if not isinstance(choice, Impossible)]
    unreadable = await _unreadable(unit, possible)
    contents = map(unit.parts.instances.files.content, possible)
    files_by_uid: dict[str, Piece | Unreadable] = dict(zip(map(UID_OF, possible), contents, strict=True))
    files_by_uid |= unreadable
    transcodings = [
        (instance, choice.to)
        for instance, choice in chosen
        if isinstance(choice, Transcode) and instance.sop_instance_uid not in unreadable
    ]
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def transcoded(instance: Instance, to: str) -> tuple[str, Piece | Unreadable]:
        async with at_once:
            return instance.sop_instance_uid, await _transcoded(unit, instance, to)

    return files_by_uid | dict(await asyncio.gather(*(transcoded(*each) for each in transcodings)))


async def _unreadable(unit: HoldingUnit, instances: Sequence[Instance]) -> Mapping[str, Unreadable]:
    """Those whose bytes cannot be given, by SOP Instance UID."""
    return {uid: Unreadable(reason) for uid, reason in (await unit.unreadable(instances)).items()}


async def local_file(unit: HoldingUnit, instance: Instance, choice: Choice) -> Path | Unreadable:
    """The file of one instance on this disk, as it was chosen to be given."""
    content = (await files(unit, [(instance, choice)]))[instance.sop_instance_uid]
    if isinstance(content, Unreadable):
        return content
    if isinstance(content, FileRange):
        return Path(content.path)
    try:
        return await unit.parts.instances.files.local(instance)
    except OSError as error:
        _log.error("an instance cannot be read", sha256=instance.sha256, exc_info=error)
        return Unreadable("what is stored cannot be read")


async def frames_of(
    unit: HoldingUnit, instance: Instance, choice: Choice, frames: Sequence[int]
) -> Sequence[tuple[Piece, ...]] | Unreadable:
    """The pieces of each of `frames`, from 1, of an instance as it was chosen to be given."""
    file = await local_file(unit, instance, choice)
    if isinstance(file, Unreadable):
        return file
    instances = unit.parts.instances
    try:
        pixels = await instances.pixels(instance.sop_instance_uid) if isinstance(choice, AsStored) else None
        if pixels and (places := known_frames(file, instance, pixels, frames)) is not None:
            return places
        return await asyncio.to_thread(scanned_frames, file, frames, instances.limits)
    except (FramesUnclear, DicomError) as error:
        return Undecodable(str(error))
    except OSError as error:
        _log.error("frames cannot be read", sha256=instance.sha256, exc_info=error)
        return Unreadable("what is stored cannot be read")


async def rendered(
    unit: HoldingUnit, instance: Instance, rendering: Rendering, state: Instance | None = None
) -> FileRange | Unreadable:
    """An instance as an image, as a presentation `state` has it shown.

    Raises
    ------
    TooManyPixels
        It is larger than may be rendered.
    """
    for needed in (instance, *([state] if state is not None else [])):
        if broken := await _unreadable(unit, [needed]):
            return broken[needed.sop_instance_uid]
    try:
        return await unit.parts.transcoder.rendered(instance, rendering, state)
    except TooManyPixels:
        raise
    except (ValueError, OSError) as error:
        _log.error("an instance cannot be rendered", sha256=instance.sha256, exc_info=error)
        if isinstance(error, OSError):
            return Unreadable("there is no room to render it, or what is stored cannot be read")
        return Undecodable("what is stored cannot be rendered")


async def _transcoded(unit: HoldingUnit, instance: Instance, to: str) -> Piece | Unreadable:
    try:
        return await unit.parts.transcoder.transcoded(instance, to)
    except (ValueError, OSError) as error:
        _log.error("an instance cannot be transcoded", sha256=instance.sha256, to=to, exc_info=error)
        if isinstance(error, OSError):
            return Unreadable("there is no room to transcode it, or what is stored cannot be read")
        return Undecodable(f"what is stored cannot be given in {to}")


def syntax_of(instance: Instance, choice: Choice) -> str:
    """The transfer syntax in which an instance is given; empty when it is not."""
    match choice:
        case AsStored():
            return instance.transfer_syntax_uid
        case Transcode(to):
            return to
        case Impossible():
            return ""


# --- events ------------------------------------------------------------------------------------------


def events(
    results: Sequence[InstanceResult],
    caller: Caller,
    *,
    transaction: Coded,
    over_http: bool = False,
    failure: Outcome = Outcome.SERIOUS_FAILURE,
) -> tuple[AuditEvent, ...]:
    """Describe a retrieval (PS3.15 A.5.3.7): one event for each patient and outcome."""
    kinds = alike(results, "failure", "patient_id")
    return tuple(
        patterns.instances(
            transaction,
            Side.SERVER,
            caller,
            failure if of_kind[0].failure else Outcome.SUCCESS,
            of_kind,
            patient_id=of_kind[0].patient_id,
            description=of_kind[0].failure,
            over_http=over_http,
        )
        for of_kind in sorted(kinds, key=lambda of_kind: (of_kind[0].failure, of_kind[0].patient_id))
    )
