"""What is found wrong while objects are read, and in which words it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import ExtraMetadataNotSaved, MetadataError, XdsError

MAX_ERRORS = 100
MAX_LOCATION = 400


@dataclass(frozen=True, slots=True)
class ValueForm:
    """What a value must look like, as a check and in words."""

    check: Callable[[str], object]
    words: str


def shown(value: str) -> str:
    """`value` for an error text, shortened."""
    return value if len(value) <= 80 else f"{value[:80]}…"


class Findings:
    """What is wrong in one list of objects; `submitted` tells a submission, held to its rules, from an
    answer.

    `incomplete` says that something required is absent or beyond all bounds, so that the values made from the
    list are of no use.
    """

    __slots__ = ("errors", "ids", "incomplete", "submitted", "warnings")

    def __init__(self, *, submitted: bool) -> None:
        self.submitted = submitted
        self.errors: list[XdsError] = []
        self.warnings: list[XdsError] = []
        self.ids: set[str] = set()
        self.incomplete = False

    def wrong(self, location: str, text: str, kind: type[MetadataError] = MetadataError) -> None:
        """Note an error; there are at most `MAX_ERRORS` and one that says so."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(kind(text, location=location[:MAX_LOCATION]))
        elif len(self.errors) == MAX_ERRORS:
            self.errors.append(MetadataError("more is wrong; further errors are left out"))

    def oversized(self, location: str, text: str) -> None:
        """Note a value so long that nobody should look at it again."""
        self.incomplete = True
        self.wrong(location, text)

    def dropped(self, location: str, name: str) -> None:
        """Note that a Slot where extra metadata has no place is not kept."""
        if len(self.warnings) < MAX_ERRORS:
            text = f"the Slot {shown(name)} of a Classification is not kept"
            self.warnings.append(ExtraMetadataNotSaved(text, location=location[:MAX_LOCATION]))

    def identified(self, object_id: str) -> None:
        """Note the id of an object; no two objects of a submission share one."""
        if self.submitted and object_id in self.ids:
            self.wrong(object_id, f"the id {shown(object_id)} is used twice; ids are unique in a submission")
        self.ids.add(object_id)
