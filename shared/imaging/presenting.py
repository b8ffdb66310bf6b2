"""An image as a softcopy presentation state has it shown (PS3.4 N.2, PS3.3 C.10, C.11), in a worker process.

What the state does not say is the identity, whatever the image says of itself. Lookup tables give P-values,
from 0 to 1 here; then come shutter and overlays, the displayed area, its rotation and its flip, and what is
drawn and written on it, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms, ImageDraw
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi

from shared.imaging.graphics import Canvas, GraphicLayer
from shared.imaging.presentation import PSEUDO_COLOR
from shared.imaging.rendering import TooManyPixels
from shared.imaging.windows import eight_of, own_window, through_window

_OVERLAY_GROUPS: Final = range(0x6000, 0x6020, 2)
_WHOLE: Final = 65_535
_TURNS: Final = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Presented:
    """A frame of an image, from 0: its values as stored, or its colours, and the state that shows it."""

    values: np.ndarray
    image: Dataset
    frame: int
    state: Dataset


def present(of: Presented, *, max_pixels: int) -> Image.Image:
    """The image as it is shown.

    Raises
    ------
    TooManyPixels, ValueError
        It would have more than `max_pixels`; the state asks for what is not done here.
    """
    if of.state.get("MaskSubtractionSequence", None):
        raise ValueError("the presentation state subtracts a mask")
    shown = _shown(of)
    layers = {layer.name: layer for layer in _layers(of.state)}
    _shut(shown, of)
    _overlay(shown, of, layers)
    return _placed(shown, of, layers, max_pixels)


def _shown(of: Presented) -> np.ndarray:
    """What of the image is seen, by its colours, those of the state, or grey."""
    is_pseudo_color = of.state.get("SOPClassUID", "") == PSEUDO_COLOR
    if of.values.ndim > 2:
        if is_pseudo_color:
            raise ValueError("the presentation state gives colours to an image that has its own")
        return _in_srgb(of.values.copy(), of.state)
    if is_pseudo_color:
        return _in_srgb(_pseudo_colours(of), of.state)
    return np.round(_p_values(of) * 255.0).astype(np.uint8)


def _in_srgb(colours: np.ndarray, state: Dataset) -> np.ndarray:
    """Colours of the space that the ICC profile of the state is of, as sRGB has them (PS3.3 C.11.15)."""
    if not (profile := state.get("ICCProfile", None)):
        return colours
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        image = ImageCms.profileToProfile(
            Image.fromarray(colours), own, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (OSError, ImageCms.PyCMSError):
        raise ValueError("the presentation state has an ICC profile that cannot be used") from None
    return np.array(image)


# --- grey --------------------------------------------------------------------------------------------


def _of_interest(of: Presented) -> np.ndarray:
    """Values behind modality LUT and VOI LUT, from 0 to 1."""
    attributes = _attributes(of)
    values = apply_modality_lut(of.values, attributes).astype(np.float64)
    return _through_voi(values, of, attributes)


def _pseudo_colours(of: Presented) -> np.ndarray:
    """Colours by the palette of the state, whose first entry is for the least that the VOI LUT gives and
    whose last is for the greatest (PS3.3 A.33.3, C.7.9; PS3.4 N.2.2)."""
    if "RedPaletteColorLookupTableDescriptor" not in of.state:
        raise ValueError("the presentation state of pseudo-colours has no palette")
    entries, first, bits = (int(one) for one in of.state.RedPaletteColorLookupTableDescriptor)
    last = (entries or 2**16) - 1
    places = np.round(_of_interest(of) * last).astype(np.int64) + first
    colours = apply_color_lut(places, of.state)[..., :3]
    return eight_of(colours, 16 if bits > 8 else 8)


def _p_values(of: Presented) -> np.ndarray:
    shown = _of_interest(of)
    if lut := next(iter(of.state.get("PresentationLUTSequence", None) or ()), None):
        table, bits = _table(lut)
        looked_up: np.ndarray = table[np.round(shown * (len(table) - 1)).astype(np.intp)] / (2.0**bits - 1)
        return looked_up.clip(0.0, 1.0)
    return 1.0 - shown if of.state.get("PresentationLUTShape", "") == "INVERSE" else shown


def _attributes(of: Presented) -> Dataset:
    """How values are stored, as the image says, and what they mean, as the state does."""
    attributes = Dataset()
    for keyword in ("PixelRepresentation", "BitsStored"):
        if keyword in of.image:
            attributes[keyword] = of.image[keyword]
    for keyword in ("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"):
        if keyword in of.state:
            attributes[keyword] = of.state[keyword]
    return attributes


def _through_voi(values: np.ndarray, of: Presented, attributes: Dataset) -> np.ndarray:
    """Values by the VOI LUT or window that the state has for this frame; all that can be stored without."""
    item = next(_of_frame(of, "SoftcopyVOILUTSequence"), None)
    if item is not None and (lut := next(iter(item.get("VOILUTSequence", None) or ()), None)):
        looked_up = apply_voi(values.astype(np.int64), item)
        whole: np.ndarray = looked_up / (2.0 ** int(lut.LUTDescriptor[2]) - 1)
        return whole.clip(0.0, 1.0)
    if item is not None and (window := own_window(item)) is not None:
        return through_window(values, window)
    low, high = _possible(attributes)
    identity: np.ndarray = (values - low) / (high - low or 1.0)
    return identity.clip(0.0, 1.0)


def _possible(attributes: Dataset) -> tuple[float, float]:
    """The least and the greatest value that the modality LUT can give."""
    if lut := next(iter(attributes.get("ModalityLUTSequence", None) or ()), None):
        return 0.0, 2.0 ** int(lut.LUTDescriptor[2]) - 1
    bits = int(attributes.BitsStored)
    least = -(2 ** (bits - 1)) if attributes.get("PixelRepresentation", 0) else 0
    ends = np.array([least, least + 2**bits - 1], dtype=np.float64)
    ends = apply_modality_lut(ends, attributes)
    return float(ends.min()), float(ends.max())


def _table(lut: Dataset) -> tuple[np.ndarray, int]:
    entries, _, bits = (int(one) for one in lut.LUTDescriptor)
    data = lut["LUTData"].value
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if len(data) >= 2 * (entries or 2**16) else "u1")
    return np.asarray(data, dtype=np.float64)[: entries or 2**16], bits


# --- what stands over the pixels ---------------------------------------------------------------------


def _shut(shown: np.ndarray, of: Presented) -> None:
    """Cover what is outside of the shutter (PS3.3 C.7.6.11, C.7.6.15)."""
    shapes = of.state.get("ShutterShape", None) or ()
    shapes = [shapes] if isinstance(shapes, str) else list(shapes)
    if not shapes:
        return
    open_ = np.ones(shown.shape[:2], dtype=bool)
    for shape in shapes:
        open_ &= _opening(str(shape), shown.shape[0], shown.shape[1], of.state)
    value = int(of.state.get("ShutterPresentationValue", None) or 0)
    shown[~open_] = round(value * 255 / _WHOLE)


def _opening(shape: str, rows: int, columns: int, state: Dataset) -> np.ndarray:
    row, column = np.ogrid[1 : rows + 1, 1 : columns + 1]
    match shape:
        case "RECTANGULAR":
            left, right = int(state.ShutterLeftVerticalEdge), int(state.ShutterRightVerticalEdge)
            top, bottom = int(state.ShutterUpperHorizontalEdge), int(state.ShutterLowerHorizontalEdge)
            return (row >= top) & (row <= bottom) & (column >= left) & (column <= right)
        case "CIRCULAR":
            at_row, at_column = (int(one) for one in state.CenterOfCircularShutter)
            inside: np.ndarray = (row - at_row) ** 2 + (column - at_column) ** 2 <= int(
                state.RadiusOfCircularShutter
            ) ** 2
            return inside
        case "POLYGONAL":
            places = [int(one) - 1 for one in state.VerticesOfThePolygonalShutter]
            mask = Image.new("1", (columns, rows))
            corners = list(zip(places[1::2], places[::2], strict=True))
            ImageDraw.Draw(mask).polygon(corners, fill=1, outline=1)
            return np.asarray(mask, dtype=bool)
        case "BITMAP":
            covered = np.zeros((rows, columns), dtype=bool)
            _lay(covered, state, int(state.ShutterOverlayGroup))
            return ~covered
        case _:
            raise ValueError("the shutter of the presentation state has no known shape")


def _overlay(shown: np.ndarray, of: Presented, layers: dict[str, GraphicLayer]) -> None:
    """Lay the overlays over the image that the state activates (PS3.3 C.11.7)."""
    for group in _OVERLAY_GROUPS:
        activation = of.state.get((group, 0x1001), None)
        if activation is None or not (name := str(activation.value or "").strip()):
            continue
        owner = next((one for one in (of.state, of.image) if (group, 0x3000) in one), None)
        if owner is None:
            continue
        plane = np.zeros(shown.shape[:2], dtype=bool)
        _lay(plane, owner, group)
        shown[plane] = layers.get(name, GraphicLayer(name)).colour(grey=shown.ndim == 2)


def _lay(plane: np.ndarray, owner: Dataset, group: int) -> None:
    """Set what the overlay of `group` covers."""
    overlay = owner.overlay_array(group)
    overlay = overlay if overlay.ndim == 2 else overlay[0]
    origin = owner.get((group, 0x0050), None)
    top, left = (int(one) - 1 for one in (origin.value if origin is not None else (1, 1)))
    rows, columns = plane.shape
    height, width = overlay.shape
    within = np.s_[max(top, 0) : min(top + height, rows), max(left, 0) : min(left + width, columns)]
    part = overlay[max(-top, 0) :, max(-left, 0) :]
    target = plane[within]
    target |= part[: target.shape[0], : target.shape[1]].astype(bool)


# --- places ------------------------------------------------------------------------------------------


def _placed(
    shown: np.ndarray, of: Presented, layers: dict[str, GraphicLayer], max_pixels: int
) -> Image.Image:
    """The displayed area, turned and flipped, with its annotations."""
    rows, columns = shown.shape[:2]
    left, top, right, bottom = 1, 1, columns, rows
    across = down = 1.0
    if area := next(_of_frame(of, "DisplayedAreaSelectionSequence"), None):
        corners = [*area.DisplayedAreaTopLeftHandCorner, *area.DisplayedAreaBottomRightHandCorner]
        xs, ys = (sorted(int(one) for one in corners[at::2]) for at in (0, 1))
        (left, right), (top, bottom) = xs, ys
        across, down = _scale(area)
    width, height = round((right - left + 1) * across), round((bottom - top + 1) * down)
    if max(width * height, (right - left + 1) * (bottom - top + 1)) > max_pixels:
        raise TooManyPixels("the displayed area is too large")
    image = Image.fromarray(shown).crop((left - 1, top - 1, right, bottom))
    size = max(1, width), max(1, height)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    turn = int(of.state.get("ImageRotation", None) or 0) % 360
    if turn not in (0, *_TURNS):
        raise ValueError("the presentation state rotates by no quarter turns")
    image = image.transpose(_TURNS[turn]) if turn else image
    flipped = of.state.get("ImageHorizontalFlip", "N") == "Y"
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else image
    canvas = Canvas(image, left=left - 1, top=top - 1, across=across, down=down, turn=turn, flipped=flipped)
    ordered = sorted(layers.values(), key=lambda layer: layer.order)
    annotations = list(_of_frame(of, "GraphicAnnotationSequence"))
    for layer in ordered:
        for annotation in annotations:
            if str(annotation.get("GraphicLayer", "")).strip() == layer.name:
                canvas.annotate(annotation, layer)
    return image


def _scale(area: Dataset) -> tuple[float, float]:
    """Pixels of the answer for one of the image: across, and down."""
    magnified = str(area.get("PresentationSizeMode", "")) == "MAGNIFY"
    ratio = float(area.get("PresentationPixelMagnificationRatio", None) or 1.0) if magnified else 1.0
    shape: Any = area.get("PresentationPixelSpacing", None) or area.get("PresentationPixelAspectRatio", None)
    vertical, horizontal = (float(one) for one in shape or (1, 1))
    if min(ratio, vertical, horizontal) <= 0:
        raise ValueError("the displayed area has no scale")
    return ratio, ratio * vertical / horizontal


def _layers(state: Dataset) -> Iterator[GraphicLayer]:
    for item in state.get("GraphicLayerSequence", None) or ():
        grey = item.get("GraphicLayerRecommendedDisplayGrayscaleValue", None)
        lab = item.get("GraphicLayerRecommendedDisplayCIELabValue", None)
        yield GraphicLayer(
            str(item.get("GraphicLayer", "")).strip(),
            order=int(item.get("GraphicLayerOrder", None) or 0),
            grey=_WHOLE if grey is None else int(grey),
            lab=tuple(int(one) for one in lab) if lab else None,
        )


def _of_frame(of: Presented, keyword: str) -> Iterator[Dataset]:
    """The items of a sequence of the state that are for this frame: those that name it, or no image."""
    for item in of.state.get(keyword, None) or ():
        references = item.get("ReferencedImageSequence", None)
        if not references or any(_is_meant(one, of) for one in references):
            yield item


def _is_meant(reference: Dataset, of: Presented) -> bool:
    frames: Any = reference.get("ReferencedFrameNumber", None) or ()
    numbers = [frames] if isinstance(frames, int | str) else list(frames)
    same = reference.get("ReferencedSOPInstanceUID", "") == of.image.get("SOPInstanceUID", None)
    return same and (not numbers or of.frame + 1 in map(int, numbers))
