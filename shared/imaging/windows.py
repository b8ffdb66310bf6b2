"""Windows, from values to what is shown of them (PS3.3 C.11.2.1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from shared.imaging.rendering import VoiWindow, WindowFunction


def own_window(attributes: Dataset) -> VoiWindow | None:
    """The first window of a data set; None when it has none that can be applied."""
    center, width = (_first(attributes.get(name, None)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    keyword = str(attributes.get("VOILUTFunction", "") or "LINEAR").lower().replace("_", "-")
    function = WindowFunction(keyword) if keyword in set(WindowFunction) else WindowFunction.LINEAR
    return VoiWindow(center, max(width, 1.0) if function is WindowFunction.LINEAR else width, function)


def _first(value: Any) -> float | None:
    if isinstance(value, list | tuple) or hasattr(value, "__iter__"):
        value = next(iter(value), None)
    return None if value in (None, "") else float(value)


def through_window(values: np.ndarray, window: VoiWindow) -> np.ndarray:
    """Values through a window, from 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function is WindowFunction.SIGMOID:
        shown: np.ndarray = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
        return shown
    if window.function is WindowFunction.LINEAR:
        center, width = center - 0.5, width - 1.0
    if width <= 0:
        return np.where(values <= center, 0.0, 1.0)
    within: np.ndarray = ((values - center) / width + 0.5).clip(0.0, 1.0)
    return within


def eight_of(array: np.ndarray, bits: int) -> np.ndarray:
    """Values of so many `bits` as values from 0 to 255."""
    if array.dtype == np.uint8 and bits == 8:
        return array
    scaled: np.ndarray = np.round(array.astype(np.float64) * 255.0 / (2**bits - 1)).clip(0, 255)
    return scaled.astype(np.uint8)
