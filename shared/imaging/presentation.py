"""Softcopy presentation states (PS3.3 A.33): which images one says how to show.

It shows images of its own study and patient alone, and none that its reader may not have.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.dicom.json import Attributes, items, text, texts
from shared.imaging.holding import Access, HoldingUnit
from shared.imaging.instance import Instance

_CLASS: Final = "1.2.840.10008.5.1.4.1.1.11."
GRAYSCALE: Final = f"{_CLASS}1"
COLOR: Final = f"{_CLASS}2"
PSEUDO_COLOR: Final = f"{_CLASS}3"
#: Those that are applied; others mask or blend what they show.
APPLIED: Final = frozenset({GRAYSCALE, COLOR, PSEUDO_COLOR})

_LONGEST: Final = 4 * 1024**2
_SERIES: Final = 0x00081115
_IMAGES: Final = 0x00081140


def is_presentation_state(one: Instance) -> bool:
    """Whether an instance says how others are shown."""
    return one.sop_class_uid.startswith(_CLASS)


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image that a presentation state shows: the frame (from 1), or with 0 the one that stands for all."""

    series_instance_uid: str
    sop_instance_uid: str
    frame: int = 0


@dataclass(frozen=True, slots=True)
class Presentation:
    """The images that a state shows and the caller may have, in its order, with the frame of each.

    `refused` are those that are kept from the caller, and `access` is by what decision.
    """

    images: tuple[tuple[Instance, int], ...]
    refused: tuple[Instance, ...]
    access: Mapping[str, Access]


def shown_images(state: Attributes) -> Iterator[ShownImage]:
    """What a state references (PS3.3 C.11.11), by its metadata."""
    for series in items(state, _SERIES):
        for image in items(series, _IMAGES):
            for frame in texts(image, 0x00081160) or ("0",):
                number = int(frame) if frame.isascii() and frame.isdecimal() else 0
                yield ShownImage(text(series, 0x0020000E), text(image, 0x00081155), number)


async def presentation_of(unit: HoldingUnit, state: Instance) -> Presentation:
    """The images that `state` shows.

    Raises
    ------
    ValueError
        It is longer than any presentation state has to be.
    """
    shown = list(dict.fromkeys(shown_images(await _metadata(unit, state))))
    instances: dict[str, Instance] = {}
    for image in shown:
        if image.sop_instance_uid in instances:
            continue
        one = await unit.parts.instances.find_instance(
            state.study_instance_uid, image.series_instance_uid, image.sop_instance_uid
        )
        if one is not None and _is_of_patient(one, state):
            instances[one.sop_instance_uid] = one
    hidden = await unit.hidden(list(instances.values()))
    here = [one for uid, one in instances.items() if uid not in hidden]
    access = await unit.access(here)
    permitted = {uid for uid, answer in access.items() if answer.decision.permitted}
    return Presentation(
        images=tuple(
            (instances[image.sop_instance_uid], image.frame)
            for image in shown
            if image.sop_instance_uid in permitted
        ),
        refused=tuple(one for one in here if one.sop_instance_uid not in permitted),
        access=access,
    )


def _is_of_patient(one: Instance, state: Instance) -> bool:
    return (one.patient_id, one.issuer_of_patient_id) == (state.patient_id, state.issuer_of_patient_id)


async def _metadata(unit: HoldingUnit, state: Instance) -> Attributes:
    octets = bytearray()
    async for piece in unit.parts.instances.metadata_array([state]):
        octets += piece
        if len(octets) > _LONGEST:
            raise ValueError("the presentation state is too long")
    [attributes] = json.loads(octets)
    described: Attributes = attributes
    return described
