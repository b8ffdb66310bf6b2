"""JPEG baseline, extended and lossless for pydicom, by imagecodecs: a decoding plugin in pydicom's form.

libjpeg-turbo decodes 8, 12 and 16 bits and process 14. Components come as they are stored; what colour space
they are in is for pydicom to say.
"""

from __future__ import annotations

import importlib.util
from typing import Any, Final

from pydicom.pixels import get_decoder
from pydicom.uid import UID

from shared.dicom.uids import JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1

NAME: Final = "imagecodecs"
SYNTAXES: Final = frozenset({JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1})

# The names of these three are pydicom's.
DECODER_DEPENDENCIES: Final = {UID(uid): (NAME,) for uid in SYNTAXES}


def is_available(uid: str) -> bool:
    """Whether frames of a transfer syntax can be decoded."""
    return uid in SYNTAXES and importlib.util.find_spec(NAME) is not None


def decode_frame(src: bytes, runner: Any) -> bytes:
    """The samples of one frame, pixel by pixel."""
    # Not in the processes that never decode.
    from imagecodecs import jpeg8_decode

    # One colour space on both sides: nothing is converted.
    space = "RGB" if runner.samples_per_pixel == 3 else None
    decoded = jpeg8_decode(src, colorspace=space, outcolorspace=space)
    runner.set_option("bits_allocated", decoded.itemsize * 8)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    octets: bytes = decoded.tobytes()
    return octets


def install() -> None:
    """Make the plugin known to pydicom; harmless when repeated."""
    for uid in SYNTAXES:
        decoder = get_decoder(uid)
        if NAME not in decoder.available_plugins:
            decoder.add_plugin(NAME, (__name__, decode_frame.__name__))
