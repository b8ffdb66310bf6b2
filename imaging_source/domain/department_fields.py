"""Fields of a department's messages that orders and reports both have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.ebrim.identifiers import nfc, unescape
from shared.hl7v2.message import AnswerCode, MessageRefused, Segment, field_of

LONGEST_ID: Final = 64
#: What names a Study Instance UID in OBX-3: by code, or by its text.
_OF_STUDY: Final = frozenset({"113014", "Study Instance UID"})


def first(field: str) -> str:
    """The first component of the first repetition."""
    return component(field, 1)


def component(field: str, number: int) -> str:
    """A component of the first repetition, without subcomponents; empty where it is absent, null, or cannot
    be shown."""
    components = field.partition("~")[0].split("^")
    text = components[number - 1] if number <= len(components) else ""
    text = nfc(unescape(text.partition("&")[0].strip()))
    return text if text.isprintable() and text != '""' else ""


def names_study(observation: Segment) -> bool:
    """Whether an OBX holds a Study Instance UID."""
    return not _OF_STUDY.isdisjoint(field_of(observation, 3).split("^"))


def observed_study(group: Sequence[Segment]) -> str:
    """The Study Instance UID that an observation holds; empty without."""
    for segment in group:
        if segment[0] == "OBX" and names_study(segment):
            return first(field_of(segment, 5))
    return ""


def groups(segments: Sequence[Segment], name: str) -> list[list[Segment]]:
    """The segments from each that is of this name to the next."""
    by_name: list[list[Segment]] = []
    for segment in segments:
        if segment[0] == name:
            by_name.append([segment])
        elif by_name:
            by_name[-1].append(segment)
    return by_name


def wrong(number: int, place: str, text: str) -> MessageRefused:
    """AE: the message is understood, and not taken."""
    return MessageRefused(AnswerCode.ERROR, number, place, text)
