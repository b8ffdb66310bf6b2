"""DICOM web services over every source: whatever road a study comes by, viewers and scripts read it alike."""

from __future__ import annotations

from typing import Any

from consumer.front import pixel_stream, rad107, rad129
from shared.rest.served import ServedRest

SERVED_REST: tuple[ServedRest[Any, Any], ...] = (
    rad129.SERVED,
    rad107.SERVED,
    rad107.RENDERED,
    pixel_stream.SERVED,
)
