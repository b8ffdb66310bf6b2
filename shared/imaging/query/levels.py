"""Which level an attribute is of, and what a match of a level tells (PS3.4 C.6; PS3.18 10.6.3.3).

Attributes of the patient count as attributes of the study: there is no level of its own for patients.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache
from typing import Final

from shared.dicom.json import Attributes


class QueryLevel(IntEnum):
    """What is searched; attributes of a lower number are those of a level above."""

    STUDY = 1
    SERIES = 2
    INSTANCE = 3


TIMEZONE: Final = 0x00080201
_OF_STUDY: Final = frozenset(
    {
        0x00080020,  # Study Date
        0x00080030,  # Study Time
        0x00080050,  # Accession Number
        0x00080051,  # Issuer of Accession Number Sequence
        0x00080061,  # Modalities in Study
        0x00080062,  # SOP Classes in Study
        0x00080063,  # Anatomic Regions in Study Code Sequence
        0x00080090,  # Referring Physician's Name
        0x00080096,  # Referring Physician Identification Sequence
        0x0008009C,  # Consulting Physician's Name
        TIMEZONE,
        0x00081030,  # Study Description
        0x00081032,  # Procedure Code Sequence
        0x00081048,  # Physician(s) of Record
        0x00081060,  # Name of Physician(s) Reading Study
        0x00081080,  # Admitting Diagnoses Description
        0x00081084,  # Admitting Diagnoses Code Sequence
        0x00081110,  # Referenced Study Sequence
        0x0020000D,  # Study Instance UID
        0x00200010,  # Study ID
        0x00201200,  # Number of Patient Related Studies
        0x00201206,  # Number of Study Related Series
        0x00201208,  # Number of Study Related Instances
        0x00321032,  # Requesting Physician
        0x00321033,  # Requesting Service
        0x00321060,  # Requested Procedure Description
        0x00321064,  # Requested Procedure Code Sequence
        0x00400026,  # Order Placer Identifier Sequence
        0x00400027,  # Order Filler Identifier Sequence
        0x00401001,  # Requested Procedure ID
        0x00401012,  # Reason for Performed Procedure Code Sequence
        0x00402016,  # Placer Order Number / Imaging Service Request
        0x00402017,  # Filler Order Number / Imaging Service Request
    }
)
_OF_SERIES: Final = frozenset(
    {
        0x00080021,  # Series Date
        0x00080031,  # Series Time
        0x00080060,  # Modality
        0x00080070,  # Manufacturer
        0x00080080,  # Institution Name
        0x00080081,  # Institution Address
        0x00081010,  # Station Name
        0x0008103E,  # Series Description
        0x0008103F,  # Series Description Code Sequence
        0x00081040,  # Institutional Department Name
        0x00081050,  # Performing Physician's Name
        0x00081070,  # Operators' Name
        0x00081090,  # Manufacturer's Model Name
        0x00081111,  # Referenced Performed Procedure Step Sequence
        0x00180015,  # Body Part Examined
        0x00181000,  # Device Serial Number
        0x00181020,  # Software Versions
        0x00181030,  # Protocol Name
        0x00185100,  # Patient Position
        0x0020000E,  # Series Instance UID
        0x00200011,  # Series Number
        0x00200052,  # Frame of Reference UID
        0x00200060,  # Laterality
        0x00201209,  # Number of Series Related Instances
        0x00400244,  # Performed Procedure Step Start Date
        0x00400245,  # Performed Procedure Step Start Time
        0x00400250,  # Performed Procedure Step End Date
        0x00400251,  # Performed Procedure Step End Time
        0x00400253,  # Performed Procedure Step ID
        0x00400254,  # Performed Procedure Step Description
        0x00400260,  # Performed Protocol Code Sequence
        0x00400275,  # Request Attributes Sequence
    }
)
# Of the answer and not of what is searched: where it is, and in which character set.
_OF_ANY: Final = frozenset({0x00080005, 0x00080054, 0x00080056, 0x00081190})
_GROUP_OF_PATIENTS: Final = 0x0010
_GROUP_OF_VISITS: Final = 0x0038

RETURNED: Final = {
    QueryLevel.STUDY: (
        0x00080020,
        0x00080030,
        0x00080050,
        0x00080056,
        0x00080061,
        0x00080090,
        0x00100010,
        0x00100020,
        0x00100030,
        0x00100040,
        0x0020000D,
        0x00200010,
        0x00201206,
        0x00201208,
    ),
    QueryLevel.SERIES: (0x00080056, 0x00080060, 0x0020000D, 0x0020000E, 0x00200011, 0x00201209),
    QueryLevel.INSTANCE: (0x00080016, 0x00080018, 0x00080056, 0x0020000D, 0x0020000E, 0x00200013),
}
"""What each match has, with or without a value."""

WHEN_PRESENT: Final = {
    QueryLevel.STUDY: (0x00080005, TIMEZONE, 0x00081190),
    QueryLevel.SERIES: (
        0x00080005,
        TIMEZONE,
        0x0008103E,
        0x00081190,
        0x00400244,
        0x00400245,
        0x00400275,
    ),
    QueryLevel.INSTANCE: (
        0x00080005,
        TIMEZONE,
        0x00081190,
        0x00083002,
        0x00280008,
        0x00280010,
        0x00280011,
        0x00280100,
    ),
}
"""What a match has where it has a value."""


def level_of(tag: int) -> QueryLevel | None:
    """The level that an attribute is of; None for one of the answer itself."""
    if tag in _OF_ANY:
        return None
    if tag in _OF_STUDY or tag >> 16 in (_GROUP_OF_PATIENTS, _GROUP_OF_VISITS):
        return QueryLevel.STUDY
    return QueryLevel.SERIES if tag in _OF_SERIES else QueryLevel.INSTANCE


def of_level(attributes: Attributes, level: QueryLevel) -> dict[str, object]:
    """Those of `attributes` that are of `level`."""
    return {key: element for key, element in attributes.items() if level_of_key(key) is level}


@lru_cache(maxsize=4096)
def level_of_key(key: str) -> QueryLevel | None:
    """`level_of` a tag as DICOM JSON writes it."""
    return level_of(int(key, 16))
