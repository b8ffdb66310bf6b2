"""What C-MOVE and C-GET are asked for: a level, and unique keys down to it (PS3.4 C.4.2.1.4, C.4.3.1.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from shared.dicom.uids import is_uid


class Root(Enum):
    """The information model that a SOP class is of."""

    PATIENT = "Patient Root"
    STUDY = "Study Root"


class Level(StrEnum):
    """Query/Retrieve Level (0008,0052)."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    IMAGE = "IMAGE"


#: The unique key of each level, in the order of levels.
UNIQUE_KEYS: Final[Mapping[Level, int]] = {
    Level.PATIENT: 0x00100020,
    Level.STUDY: 0x0020000D,
    Level.SERIES: 0x0020000E,
    Level.IMAGE: 0x00080018,
}
LEVEL: Final = 0x00080052
#: Most UIDs of one identifier.
MAX_UIDS: Final = 10_000


class IdentifierMismatch(Exception):
    """The identifier is none of its SOP class (status A900H); the text says why and holds no value of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveKeys:
    """The instances that are asked for: those of a patient, of studies, of series of one study, or some of
    one series; what is empty restricts nothing."""

    level: Level
    patient_id: str = ""
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()


def levels_of(root: Root) -> tuple[Level, ...]:
    """The levels of an information model, from above."""
    return tuple(level for level in Level if root is Root.PATIENT or level is not Level.PATIENT)


def level_of_identifier(root: Root, texts: Sequence[str]) -> Level:
    """The Query/Retrieve Level that is asked for; raises `IdentifierMismatch`."""
    level = texts[0].strip() if texts else ""
    if len(texts) != 1 or level not in levels_of(root):
        names = ", ".join(levels_of(root))
        raise IdentifierMismatch(f"(0008,0052) is none of {names}")
    return Level(level)


def retrieve_keys(root: Root, values: Mapping[int, Sequence[str]]) -> RetrieveKeys:
    """What the identifier with these `values` asks for: those of the level and of unique keys; what else it
    has is not looked at.

    Raises
    ------
    IdentifierMismatch
        There is no such level, a unique key is absent, has several values above its level, or is no UID.
    """
    level = level_of_identifier(root, values.get(LEVEL, ()))
    uids: dict[Level, tuple[str, ...]] = {}
    for each in levels_of(root):
        uids[each] = _unique(each, values.get(UNIQUE_KEYS[each], ()), is_last=each is level)
        if each is level:
            break
    return RetrieveKeys(
        level=level,
        patient_id=next(iter(uids.get(Level.PATIENT, ())), ""),
        study_instance_uids=uids.get(Level.STUDY, ()),
        series_instance_uids=uids.get(Level.SERIES, ()),
        sop_instance_uids=uids.get(Level.IMAGE, ()),
    )


def _unique(level: Level, texts: Sequence[str], *, is_last: bool) -> tuple[str, ...]:
    tag = UNIQUE_KEYS[level]
    name = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
    keys = tuple(dict.fromkeys(text for text in (one.strip(" \0") for one in texts) if text))
    if not keys:
        raise IdentifierMismatch(f"{name} is absent or empty")
    if len(keys) > 1 and (level is Level.PATIENT or not is_last):
        raise IdentifierMismatch(f"{name} has several values")
    if len(keys) > MAX_UIDS:
        raise IdentifierMismatch(f"{name} has more than {MAX_UIDS} values")
    if level is not Level.PATIENT and not all(map(is_uid, keys)):
        raise IdentifierMismatch(f"{name} is no UID")
    return keys
