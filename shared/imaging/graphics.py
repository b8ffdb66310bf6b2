"""What a presentation state draws and writes on an image: graphic annotations (PS3.3 C.10.5), in layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset

Point = tuple[float, float]

_WHOLE: Final = 65_535
#: Between two points of a curve.
_STEPS: Final = 16
_ELLIPSE_STEPS: Final = 96
_LEAST_FONT: Final = 6
_MOST_POINTS: Final = 100_000


@dataclass(frozen=True, slots=True)
class GraphicLayer:
    """A graphic layer, above those of a lower `order`. `grey` is a P-value of 16 bits, `lab` a colour in
    CIELab as PS3.3 C.10.7.1.1 writes it."""

    name: str
    order: int = 0
    grey: int = _WHOLE
    lab: tuple[int, ...] | None = None

    def colour(self, *, grey: bool) -> Any:
        """What is drawn with, on a grey image or on one of colours."""
        if self.lab is not None and len(self.lab) == 3:
            red, green, blue = _srgb(*self.lab)
            return round(0.299 * red + 0.587 * green + 0.114 * blue) if grey else (red, green, blue)
        value = round(self.grey * 255 / _WHOLE)
        return value if grey else (value, value, value)


def _srgb(lightness: int, a: int, b: int) -> tuple[int, int, int]:
    """sRGB of a CIELab value that is scaled to 16 bits, under D50 adapted to D65 (Bradford)."""
    level = lightness * 100 / _WHOLE
    green_red, blue_yellow = a * 255 / _WHOLE - 128, b * 255 / _WHOLE - 128
    at_y = (level + 16) / 116
    xyz = [
        white * _unfolded(at)
        for white, at in zip(
            (0.96422, 1.0, 0.82521), (at_y + green_red / 500, at_y, at_y - blue_yellow / 200), strict=True
        )
    ]
    linear = [
        sum(factor * value for factor, value in zip(row, xyz, strict=True))
        for row in (
            (3.1338561, -1.6168667, -0.4906146),
            (-0.9787684, 1.9161415, 0.0334540),
            (0.0719453, -0.2289914, 1.4052427),
        )
    ]
    red, green, blue = (_gamma(min(max(one, 0.0), 1.0)) for one in linear)
    return red, green, blue


def _unfolded(value: float) -> float:
    return value**3 if value > 6 / 29 else 3 * (6 / 29) ** 2 * (value - 4 / 29)


def _gamma(value: float) -> int:
    return round(255 * (12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055))


class Canvas:
    """An image whose displayed area begins `left` and `top` pixels from the corner of what it was made of, is
    scaled by `across` and `down`, and then turned clockwise and flipped."""

    def __init__(
        self,
        image: Image.Image,
        *,
        left: int = 0,
        top: int = 0,
        across: float = 1.0,
        down: float = 1.0,
        turn: int = 0,
        flipped: bool = False,
    ) -> None:
        self._image = image
        self._draw = ImageDraw.Draw(image)
        self._corner = left, top
        self._scale = across, down
        self._turn = turn
        self._flipped = flipped
        self._width = max(1, min(image.size) // 512)

    def annotate(self, annotation: Dataset, layer: GraphicLayer) -> None:
        """Draw the graphic objects of an item, and write its texts."""
        colour = layer.colour(grey=self._image.mode == "L")
        for graphic in annotation.get("GraphicObjectSequence", None) or ():
            self._graphic(graphic, colour)
        for text in annotation.get("TextObjectSequence", None) or ():
            self._text(text, colour)

    def place(self, point: Point, units: str) -> Point:
        """Where a point is on the image: of the displayed area's sides, or of the pixels it was made of."""
        wide, high = self._image.size
        if units == "DISPLAY":
            return point[0] * wide, point[1] * high
        x, y = ((point[at] - self._corner[at]) * self._scale[at] for at in (0, 1))
        width, height = (wide, high) if self._turn % 180 == 0 else (high, wide)
        match self._turn:
            case 90:
                x, y = height - y, x
            case 180:
                x, y = width - x, height - y
            case 270:
                x, y = y, width - x
        return (wide - x if self._flipped else x), y

    def _points(self, data: Sequence[Any], units: str) -> list[Point]:
        values = [float(one) for one in data]
        if len(values) > 2 * _MOST_POINTS or not all(map(math.isfinite, values)):
            raise ValueError("the points of an annotation cannot be drawn")
        return [self.place(point, units) for point in zip(values[::2], values[1::2], strict=True)]

    def _graphic(self, graphic: Dataset, colour: Any) -> None:
        points = self._points(graphic.GraphicData, str(graphic.get("GraphicAnnotationUnits", "PIXEL")))
        filled = str(graphic.get("GraphicFilled", "N")) == "Y"
        match str(graphic.get("GraphicType", "")):
            case "POINT":
                radius = self._width
                for x, y in points:
                    self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
                return
            case "POLYLINE":
                outline = points
            case "INTERPOLATED":
                outline = _curve(points)
            case "CIRCLE":
                outline = _circle(*points[:2])
            case "ELLIPSE":
                outline = _ellipse(*points[:4])
            case _:
                raise ValueError("a graphic of the presentation state is of no known type")
        if filled and len(outline) > 2:
            self._draw.polygon(outline, fill=colour)
        self._draw.line(outline, fill=colour, width=self._width)

    def _text(self, text: Dataset, colour: Any) -> None:
        words = str(text.get("UnformattedTextValue", "") or "").replace("\r\n", "\n").strip()
        box = anchor = None
        if corner := text.get("BoundingBoxTopLeftHandCorner", None):
            units = str(text.get("BoundingBoxAnnotationUnits", "PIXEL"))
            ends = self._points([*corner, *text.BoundingBoxBottomRightHandCorner], units)
            xs, ys = (sorted(end[at] for end in ends) for at in (0, 1))
            box = xs[0], ys[0], xs[1], ys[1]
        if at := text.get("AnchorPoint", None):
            (anchor,) = self._points(at, str(text.get("AnchorPointAnnotationUnits", "PIXEL")))
        if box is not None:
            self._write(words, box, str(text.get("BoundingBoxTextHorizontalJustification", "LEFT")), colour)
            if anchor is not None and str(text.get("AnchorPointVisibility", "N")) == "Y":
                near = min(max(anchor[0], box[0]), box[2]), min(max(anchor[1], box[1]), box[3])
                self._draw.line((near, anchor), fill=colour, width=self._width)
        elif anchor is not None:
            font = ImageFont.load_default(size=max(10, min(self._image.size) // 32))
            self._draw.text(anchor, words, fill=colour, font=font, anchor="ld" if "\n" not in words else None)

    def _write(self, words: str, box: tuple[float, float, float, float], side: str, colour: Any) -> None:
        """As large as fits into the box."""
        width, height = max(1.0, box[2] - box[0]), max(1.0, box[3] - box[1])
        lines = words.count("\n") + 1
        size = max(_LEAST_FONT, min(int(height / lines), min(self._image.size)))
        font = ImageFont.load_default(size=size)
        wide = self._draw.multiline_textbbox((0, 0), words, font=font)[2]
        if wide > width:
            font = ImageFont.load_default(size=max(_LEAST_FONT, int(size * width / wide)))
        left, _, right, _ = self._draw.multiline_textbbox((0, 0), words, font=font)
        room = width - (right - left)
        indent = {"RIGHT": room, "CENTER": room / 2}.get(side, 0.0)
        align = {"RIGHT": "right", "CENTER": "center"}.get(side, "left")
        self._draw.multiline_text((box[0] + indent, box[1]), words, fill=colour, font=font, align=align)


def _circle(center: Point, on_it: Point) -> list[Point]:
    radius = math.dist(center, on_it)
    return _around(center, (radius, 0.0), (0.0, radius))


def _ellipse(begin: Point, end: Point, upper: Point, lower: Point) -> list[Point]:
    center = (begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2
    major = (end[0] - begin[0]) / 2, (end[1] - begin[1]) / 2
    minor = (lower[0] - upper[0]) / 2, (lower[1] - upper[1]) / 2
    return _around(center, major, minor)


def _around(center: Point, major: Point, minor: Point) -> list[Point]:
    turns = [2 * math.pi * step / _ELLIPSE_STEPS for step in range(_ELLIPSE_STEPS + 1)]
    return [
        (
            center[0] + major[0] * math.cos(turn) + minor[0] * math.sin(turn),
            center[1] + major[1] * math.cos(turn) + minor[1] * math.sin(turn),
        )
        for turn in turns
    ]


def _curve(points: Sequence[Point]) -> list[Point]:
    """Through all points (Catmull-Rom)."""
    if len(points) < 3:
        return list(points)
    closed = points[0] == points[-1]
    ends = (points[-2], points[1]) if closed else (points[0], points[-1])
    through = [ends[0], *points, ends[1]]
    curve = []
    for a, b, c, d in zip(through, through[1:], through[2:], through[3:], strict=False):
        for step in range(_STEPS):
            t = step / _STEPS
            curve.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    return [*curve, points[-1]]


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    return 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
