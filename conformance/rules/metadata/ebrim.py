"""How metadata are read in ebRIM (ITI TF-3 4.2.3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from conformance import schemes
from conformance.readers.xml import Element, local, place, text

RIM: Final = "{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}"
OBJECTS: Final = tuple(f"{RIM}{name}" for name in ("ExtrinsicObject", "RegistryPackage", "Association"))


class Use(StrEnum):
    """Where metadata stand, since what is required depends on it."""

    PROVIDE = "ITI-41"
    REGISTER = "ITI-42"
    ON_DEMAND = "ITI-61"
    UPDATE = "ITI-57"
    ANSWER = "answer"

    @property
    def is_submission(self) -> bool:
        """Whether somebody submits them, and no registry answers with them."""
        return self is not Use.ANSWER


def slots(element: Element) -> dict[str, list[str]]:
    """The values of each Slot of an object; those of one name added up."""
    values: dict[str, list[str]] = {}
    for slot in element.iterfind(f"{RIM}Slot"):
        listed = [text(value) for value in slot.iterfind(f"{RIM}ValueList/{RIM}Value")]
        values.setdefault(slot.get("name") or "", []).extend(listed)
    return values


def slot(element: Element, name: str) -> str:
    """The first value of a Slot, or empty."""
    for one in element.iterfind(f"{RIM}Slot"):
        if one.get("name") == name:
            for value in one.iterfind(f"{RIM}ValueList/{RIM}Value"):
                if content := text(value):
                    return content
    return ""


def slot_place(element: Element, name: str) -> str:
    """Where a Slot stands, or where it is due."""
    for one in element.iterfind(f"{RIM}Slot"):
        if one.get("name") == name:
            return place(one)
    return place(element, f"Slot[@name={name!r}]")


def classifications(element: Element, scheme: str) -> list[Element]:
    """The Classifications of one scheme."""
    return [
        one for one in element.iterfind(f"{RIM}Classification") if one.get("classificationScheme") == scheme
    ]


def identifier(element: Element, kind: str, attribute: str) -> str:
    """The value of an ExternalIdentifier, or empty."""
    for one in element.iterfind(f"{RIM}ExternalIdentifier"):
        if schemes.IDENTIFIERS[kind].get(one.get("identificationScheme") or "") == attribute:
            return one.get("value") or ""
    return ""


def name_of(element: Element) -> str:
    """The display name of a Classification, or the title of an object."""
    only = element.find(f"{RIM}Name/{RIM}LocalizedString")
    return "" if only is None else only.get("value") or ""


def kind_of(element: Element, labels: dict[str, str] | None = None) -> str:
    """What an object of ebRIM is; empty for a package without label. `labels` are those beside it."""
    match local(element):
        case "ExtrinsicObject":
            return "DocumentEntry"
        case "Association":
            return "Association"
    nodes = {one.get("classificationNode") for one in element.iterfind(f"{RIM}Classification")}
    if labels and (label := labels.get(element.get("id") or "")):
        nodes.add(label)
    if schemes.IS_SUBMISSION_SET in nodes:
        return "SubmissionSet"
    return "Folder" if schemes.IS_FOLDER in nodes else ""
