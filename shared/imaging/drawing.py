"""One image as people see it: the grayscale pipeline of PS3.3 C.11 and PS3.4 N.2; in a process of its own.

Modality LUT, then the window of the request, or the VOI LUT or window of the image, or all values that there
are; then the photometric interpretation. Colours are those of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array

from shared.attempts import attempted_without_panic
from shared.dicom.uids import DEFLATED_LE
from shared.imaging import jpeg
from shared.imaging.presenting import Presented, present
from shared.imaging.rendering import (
    GIF,
    JPEG,
    PNG,
    Rendering,
    TooManyPixels,
    Viewport,
    VoiWindow,
)
from shared.imaging.windows import eight_of, own_window, through_window

#: Most pixels of one image, and of all frames together.
MAX_PIXELS: Final = 64 * 1024**2
MAX_FRAMES: Final = 1_000
_FORMATS: Final = {JPEG: "JPEG", PNG: "PNG", GIF: "GIF"}
_PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_FRAME_MILLISECONDS: Final = 100
_LARGE: Final = 64 * 1024


def render(source: Path, target: Path, rendering: Rendering, state: Path | None = None) -> None:
    """Write what `rendering` asks for of the instance in `source` to `target`, as a presentation `state` has
    it shown where there is one.

    Raises
    ------
    TooManyPixels, ValueError
        It is too large; its pixels cannot be decoded, or are none.
    OSError
        A file cannot be read or written.
    """
    images = attempted_without_panic(lambda: list(_images(source, rendering, state)))
    match images:
        case OSError(errno=None):
            raise ValueError("the data set cannot be read element by element") from images
        case ValueError() | OSError():
            raise images
        case Exception():
            raise ValueError(f"the pixels cannot be rendered: {type(images).__name__}") from images
    first, *others = images
    out = BytesIO()
    options: dict[str, Any] = {}
    if rendering.media_type == JPEG:
        options = {"quality": rendering.quality, "subsampling": 0}
    elif others:
        options = {"save_all": True, "append_images": others, "duration": _FRAME_MILLISECONDS, "loop": 0}
    first.save(out, _FORMATS[rendering.media_type], **options)
    target.write_bytes(out.getvalue())


def _images(source: Path, rendering: Rendering, state: Path | None) -> Iterator[Image.Image]:
    data_set = pydicom.dcmread(source, defer_size=_LARGE)
    keyword = next((one for one in _PIXELS if one in data_set), "")
    if not keyword:
        raise ValueError("there are no pixels in it")
    count = int(data_set.get("NumberOfFrames", None) or 1)
    frames = _frames(data_set, rendering, count)
    size = data_set.Rows * data_set.Columns
    if size * len(frames) > MAX_PIXELS or len(frames) > MAX_FRAMES:
        raise TooManyPixels(
            f"more than {MAX_PIXELS // 1024**2} megapixels, or {MAX_FRAMES} frames; ask for one frame"
        )
    shown_by = pydicom.dcmread(state) if state is not None else None
    for frame in frames:
        image = _placed(_image(source, data_set, frame, rendering.window, shown_by), rendering)
        if rendering.annotation:
            image = _annotated(image, data_set, rendering.annotation)
        yield image


def _frames(data_set: Dataset, rendering: Rendering, count: int) -> list[int]:
    """The frames that are shown, from 0."""
    if rendering.frame > count:
        raise ValueError(f"there are {count} frames")
    if rendering.frame:
        return [rendering.frame - 1]
    if rendering.media_type == GIF:
        return list(range(count))
    representative = int(data_set.get("RepresentativeFrameNumber", None) or 1)
    return [representative - 1 if 1 <= representative <= count else 0]


# --- values ------------------------------------------------------------------------------------------


def _image(
    source: Path, data_set: Dataset, frame: int, window: VoiWindow | None, state: Dataset | None
) -> Image.Image:
    array, photometric = _decoded(source, data_set, frame)
    if photometric == "PALETTE COLOR":
        array = eight_of(apply_color_lut(array, data_set), 16 if _lut_bits(data_set) > 8 else 8)
    elif array.ndim > 2:
        array = eight_of(array, int(data_set.BitsStored))
    if state is not None:
        return present(Presented(array, data_set, frame, state), max_pixels=MAX_PIXELS)
    return Image.fromarray(
        array if array.ndim > 2 else _eight_bits(array, photometric, data_set, frame, window)
    )


def _decoded(source: Path, data_set: Dataset, frame: int) -> tuple[np.ndarray, str]:
    """The values of one frame as they are stored, colours as RGB; and its photometric interpretation."""
    jpeg.install()
    syntax = data_set.file_meta.TransferSyntaxUID
    plugin = jpeg.NAME if syntax in jpeg.SYNTAXES else ""
    if syntax == DEFLATED_LE:
        array, properties = get_decoder(syntax).as_array(data_set, index=frame, as_rgb=True)
        return array, str(properties["photometric_interpretation"])
    shown = Dataset()
    shown.file_meta = FileMetaDataset()
    array = pixel_array(source, ds_out=shown, index=frame, decoding_plugin=plugin)
    return array, str(shown.PhotometricInterpretation)


def _eight_bits(
    array: np.ndarray, photometric: str, data_set: Dataset, frame: int, window: VoiWindow | None
) -> np.ndarray:
    """Grey values as they are shown, from 0 to 255."""
    values = _grey(array, _of_frame(data_set, frame), window)
    shape = str(data_set.get("PresentationLUTShape", ""))
    return 255 - values if photometric == "MONOCHROME1" or shape == "INVERSE" else values


def _lut_bits(data_set: Dataset) -> int:
    descriptor = data_set.get("RedPaletteColorLookupTableDescriptor", None) or (0, 0, 8)
    return int(descriptor[2])


def _grey(array: np.ndarray, attributes: Dataset, window: VoiWindow | None) -> np.ndarray:
    values = apply_modality_lut(array, attributes).astype(np.float64)
    if window is None and "VOILUTSequence" in attributes and _has_lut(attributes):
        item = attributes.VOILUTSequence[0]
        looked_up = apply_voi(values.astype(np.int64), attributes)
        return eight_of(looked_up, int(item.LUTDescriptor[2]))
    window = window or own_window(attributes)
    if window is not None:
        return np.round(through_window(values, window) * 255.0).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    span = high - low or 1.0
    shown: np.ndarray = np.round((values - low) * 255.0 / span).astype(np.uint8)
    return shown


def _has_lut(attributes: Dataset) -> bool:
    return bool(attributes.VOILUTSequence) and "LUTData" in attributes.VOILUTSequence[0]


def _of_frame(data_set: Dataset, frame: int) -> Dataset:
    """What says how the values of a frame are shown: of its functional groups, of those that all share, or of
    the image."""
    attributes = Dataset()
    attributes.file_meta = data_set.file_meta
    for keyword in _SHOWING:
        if keyword in data_set:
            attributes[keyword] = data_set[keyword]
    groups = [*(data_set.get("SharedFunctionalGroupsSequence", None) or [])]
    per_frame = data_set.get("PerFrameFunctionalGroupsSequence", None) or []
    groups += [per_frame[frame]] if frame < len(per_frame) else []
    for group in groups:
        for macro in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in group.get(macro, None) or []:
                for element in item:
                    attributes[element.tag] = element
    return attributes


_SHOWING: Final = (
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "PixelRepresentation",
    "BitsStored",
    "PhotometricInterpretation",
)


# --- places ------------------------------------------------------------------------------------------


def _placed(image: Image.Image, rendering: Rendering) -> Image.Image:
    """The region that is asked for, fitted into the viewport."""
    if rendering.region is not None:
        left, top, right, bottom = rendering.region
        wide, high = image.size
        box = (int(left * wide), int(top * high), round(right * wide), round(bottom * high))
        image = image.crop((box[0], box[1], max(box[2], box[0] + 1), max(box[3], box[1] + 1)))
    return _fitted(image, rendering.viewport) if rendering.viewport else image


def _fitted(image: Image.Image, viewport: Viewport) -> Image.Image:
    wide, high = image.size
    left, top = min(viewport.left, wide - 1), min(viewport.top, high - 1)
    right = min(wide, left + (wide if viewport.region_width is None else viewport.region_width))
    bottom = min(high, top + (high if viewport.region_height is None else viewport.region_height))
    box = (round(left), round(top), max(round(right), round(left) + 1), max(round(bottom), round(top) + 1))
    if box != (0, 0, wide, high):
        image = image.crop(box)
    if viewport.flips[0]:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if viewport.flips[1]:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    scale = min(viewport.width / image.width, viewport.height / image.height)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)


def _annotated(image: Image.Image, data_set: Dataset, annotation: tuple[str, ...]) -> Image.Image:
    """The image with what was asked for written into its corners."""
    image = image.convert("RGB") if image.mode not in ("L", "RGB") else image.copy()
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=max(10, min(image.size) // 32))
    white: Any = 255 if image.mode == "L" else (255, 255, 255)
    corners = {"patient": ((4, 4), "la"), "technique": ((4, image.height - 4), "ld")}
    for keyword in annotation:
        place, anchor = corners[keyword]
        text = "  ".join(_words(data_set, keyword))
        draw.text(place, text, fill=white, font=font, anchor=anchor, stroke_width=1, stroke_fill=0)
    return image


def _words(data_set: Dataset, keyword: str) -> Iterator[str]:
    names = {
        "patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        "technique": (
            "Modality",
            "KVP",
            "XRayTubeCurrent",
            "ExposureTime",
            "SliceThickness",
            "RepetitionTime",
        ),
    }
    for name in names[keyword]:
        value = str(data_set.get(name, "") or "").replace("^", " ").strip()
        if value:
            yield value if keyword == "patient" else f"{name} {value}"
