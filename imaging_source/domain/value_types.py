"""The value type by which a content item refers to an instance, by SOP class alone (TID 2010 rows 8-10)."""

from __future__ import annotations

from typing import Final

_STORAGE: Final = "1.2.840.10008.5.1.4.1.1."

# Every class named "… Image Storage", and the image classes whose names hide it: Enhanced US Volume,
# Parametric Map, Segmentation, Label Map Segmentation, Ophthalmic Thickness Map, Corneal Topography Map, OCT
# B-scan Volume Analysis.
_IMAGES: Final = frozenset(
    """
    1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 2.1 2.2 3 3.1 4 4.1 4.3 4.4 5 6 6.1 6.2 6.3 7 7.1 7.2 7.3 7.4
    12.1 12.1.1 12.2 12.2.1 12.3 13.1.1 13.1.2 13.1.3 13.1.4 13.1.5 14.1 14.2 20 30 66.4 66.7
    77.1 77.2 77.1.1 77.1.1.1 77.1.2 77.1.2.1 77.1.3 77.1.4 77.1.4.1 77.1.5.1 77.1.5.2 77.1.5.4 77.1.5.5
    77.1.5.6 77.1.5.7 77.1.5.8 77.1.6 77.1.7 77.1.8 77.1.9 81.1 82.1 128 128.1 130 481.1 481.23 481.24
    501.1 501.2.1 501.2.2 601.1 601.2
    """.split()  # noqa: SIM905  # a table reads better than a hundred quoted strings
)

IMAGE: Final = "IMAGE"
WAVEFORM: Final = "WAVEFORM"
COMPOSITE: Final = "COMPOSITE"


def value_type(sop_class_uid: str) -> str:
    """`IMAGE`, `WAVEFORM`, or `COMPOSITE` for everything else and every unknown class."""
    if not sop_class_uid.startswith(_STORAGE):
        return COMPOSITE
    number = sop_class_uid.removeprefix(_STORAGE)
    if number in _IMAGES:
        return IMAGE
    return WAVEFORM if number.startswith("9.") else COMPOSITE
