"""How an image is rendered: what a request may ask for (PS3.18 8.3.5, tables 9.5-1 and 8.3.5-1)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from shared.imaging.negotiation import NothingAcceptable, offers

JPEG: Final = "image/jpeg"
PNG: Final = "image/png"
GIF: Final = "image/gif"
#: The best liked first where any image will do.
RENDERED: Final = (JPEG, PNG, GIF)
MAX_SIDE: Final = 8_192
THUMBNAIL_SIDE: Final = 128
DEFAULT_QUALITY: Final = 95


class RenderingError(ValueError):
    """A parameter of rendering has a value that it cannot have; the text holds none."""


class TooManyPixels(ValueError):
    """More would have to be rendered than one answer may hold."""


class WindowFunction(StrEnum):
    """How a window maps values to grey (PS3.3 C.11.2.1)."""

    LINEAR = "linear"
    LINEAR_EXACT = "linear-exact"
    SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class VoiWindow:
    """A window; `width` is more than 0, and 1 at least for the linear function."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """The box into which a region of the image is fitted, in pixels; the region is in pixels of the image,
    and goes to its end where a size is None; it is turned over where `flips` say so."""

    width: int
    height: int
    left: float = 0.0
    top: float = 0.0
    region_width: float | None = None
    region_height: float | None = None
    flips: tuple[bool, bool] = (False, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """What is made of an instance: `frame` is counted from 1, and 0 is the one that stands for all, or all of
    them in a GIF. `region` is left, top, right and bottom as parts of the whole. `annotation` are `patient`
    and `technique`."""

    media_type: str
    frame: int = 0
    quality: int = DEFAULT_QUALITY
    viewport: Viewport | None = None
    region: tuple[float, float, float, float] | None = None
    window: VoiWindow | None = None
    annotation: tuple[str, ...] = ()


def rendered_type(header: str | None, query: str | None) -> tuple[str, bool]:
    """The media type in which images are rendered, and whether they are asked for as parts.

    Raises
    ------
    Malformed, NothingAcceptable
        400, 406.
    """
    for ranges in offers(header, query):
        for one in ranges:
            in_parts = one.name in ("multipart/related", "multipart/*")
            name = one.part_type or "image/*" if in_parts else one.name
            for media_type in RENDERED:
                if name in (media_type, "image/*", "*/*"):
                    return media_type, in_parts
    raise NothingAcceptable(f"ask for {', '.join(RENDERED)}")


def rendering_of(
    query: Mapping[str, Sequence[str]], media_type: str, *, thumbnail: bool = False
) -> Rendering:
    """What the parameters of a DICOM web request ask for; those that are not known have no say.

    Raises
    ------
    RenderingError
        A value cannot be.
    """
    viewport = _viewport(_single(query, "viewport"))
    if thumbnail:
        side = THUMBNAIL_SIDE
        return Rendering(media_type=media_type, viewport=viewport or Viewport(width=side, height=side))
    keywords = _single(query, "annotation").split(",")
    return Rendering(
        media_type=media_type,
        quality=quality_of(_single(query, "quality")),
        viewport=viewport,
        window=_window(_single(query, "window")),
        annotation=annotation_of(keywords),
    )


def annotation_of(keywords: Sequence[str]) -> tuple[str, ...]:
    """Those that are known, each once."""
    return tuple(dict.fromkeys(word for word in map(str.strip, keywords) if word in ("patient", "technique")))


def quality_of(text: str) -> int:
    """A quality; that of the server without one."""
    if not text:
        return DEFAULT_QUALITY
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:4]) <= 100:
        raise RenderingError("quality is a whole number from 1 to 100")
    return int(text)


def window_of(center: str, width: str, function: str = "linear") -> VoiWindow:
    """A window by its numbers."""
    form = "a window is center,width,function: two numbers, and linear, linear-exact or sigmoid"
    values = number_of(center, form), number_of(width, form)
    if function not in set(WindowFunction):
        raise RenderingError(form)
    least = 1.0 if function == WindowFunction.LINEAR else math.ulp(0.0)
    if values[1] < least:
        raise RenderingError("the width of a window is 1 at least for linear, and more than 0 else")
    return VoiWindow(*values, WindowFunction(function))


def number_of(text: str, form: str) -> float:
    """A finite number; `form` says what would be right."""
    try:
        number = float(text)
    except ValueError:
        raise RenderingError(form) from None
    if not math.isfinite(number):
        raise RenderingError(form)
    return number


def box_of(width: str, height: str, form: str) -> tuple[int, int]:
    """The sides of a box in pixels."""
    sides = [int(side) if re.fullmatch("[0-9]{1,5}", side, re.ASCII) else 0 for side in (width, height)]
    if not all(0 < side <= MAX_SIDE for side in sides):
        raise RenderingError(form)
    return sides[0], sides[1]


def _single(query: Mapping[str, Sequence[str]], name: str) -> str:
    values = query.get(name, ("",))
    if len(values) > 1:
        raise RenderingError(f"{name} stands more than once")
    return values[0].strip()


def _window(text: str) -> VoiWindow | None:
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 3):
        raise RenderingError("a window is center,width,function")
    return window_of(*parts)


def _viewport(text: str) -> Viewport | None:
    if not text:
        return None
    form = f"a viewport is vw,vh or vw,vh,sx,sy,sw,sh; vw and vh are from 1 to {MAX_SIDE}"
    parts = [part.strip() for part in text.split(",")]
    if len(parts) not in (2, 6):
        raise RenderingError(form)
    width, height = box_of(parts[0], parts[1], form)
    region = parts[2:] or ["", "", "", ""]
    left, top, wide, high = (number_of(part, form) if part else None for part in region)
    if min(left or 0, top or 0) < 0 or wide == 0 or high == 0:
        raise RenderingError(form)
    return Viewport(
        width=width,
        height=height,
        left=left or 0.0,
        top=top or 0.0,
        region_width=None if wide is None else abs(wide),
        region_height=None if high is None else abs(high),
        flips=((wide or 0) < 0, (high or 0) < 0),
    )
