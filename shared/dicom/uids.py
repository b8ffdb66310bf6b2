"""Unique identifiers of DICOM: syntax, transfer syntaxes, SOP classes (PS3.5 9, PS3.6 annex A)."""

from __future__ import annotations

import re
from typing import Final

UID_PATTERN: Final = r"^[0-9]+(\.[0-9]+)*$"
MAX_UID: Final = 64
UID_FORM: Final = "1 to 64 characters, digits with single dots between them"

_UID = re.compile(UID_PATTERN.replace("$", r"\Z"), re.ASCII)

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
VERIFICATION: Final = "1.2.840.10008.1.1"

# The root of UIDs that this product makes for itself; instances get `2.25.` UIDs (PS3.5 B.2).
IMPLEMENTATION_CLASS_UID: Final = "2.25.26000837436429325680480467641020660273"
IMPLEMENTATION_VERSION_NAME: Final = "XDSI"

IMPLICIT_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_LE: Final = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEG_LS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEG_LS_NEAR: Final = "1.2.840.10008.1.2.4.81"
JPEG_2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG_2000: Final = "1.2.840.10008.1.2.4.91"
JPIP: Final = "1.2.840.10008.1.2.4.94"
JPIP_DEFLATE: Final = "1.2.840.10008.1.2.4.95"
JPEG_XL_LOSSLESS: Final = "1.2.840.10008.1.2.4.110"
JPEG_XL_RECOMPRESSION: Final = "1.2.840.10008.1.2.4.111"
JPEG_XL: Final = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
JPIP_HTJ2K: Final = "1.2.840.10008.1.2.4.204"
JPIP_HTJ2K_DEFLATE: Final = "1.2.840.10008.1.2.4.205"
RLE: Final = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES: Final = "1.2.840.10008.1.2.8.1"

UNCOMPRESSED: Final = frozenset(
    {IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE, ENCAPSULATED_UNCOMPRESSED}
)
"""Transfer syntaxes whose frames are not compressed; the data set of DEFLATED_LE is, as a whole."""

VIDEO: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}{variant}" for number in range(100, 109) for variant in ("", ".1")
)
"""MPEG-2, H.264 and H.265; pixels are never decoded from these."""

STILL: Final = frozenset(
    {
        JPEG_BASELINE,
        JPEG_EXTENDED,
        JPEG_LOSSLESS,
        JPEG_LOSSLESS_SV1,
        JPEG_LS_LOSSLESS,
        JPEG_LS_NEAR,
        JPEG_2000_LOSSLESS,
        JPEG_2000,
        JPEG_XL_LOSSLESS,
        JPEG_XL_RECOMPRESSION,
        JPEG_XL,
        HTJ2K_LOSSLESS,
        HTJ2K_LOSSLESS_RPCL,
        HTJ2K,
        RLE,
        DEFLATED_FRAMES,
    }
)
"""Compressed still images, each frame by itself."""

# Part 2 multi-component JPEG 2000, and the processes of JPEG that are retired: kept and returned, never
# decoded.
_OTHER: Final = frozenset(
    f"1.2.840.10008.1.2.4.{number}" for number in (*range(52, 57), *range(58, 67), 92, 93)
)
_REFERENCED: Final = frozenset({JPIP, JPIP_DEFLATE, JPIP_HTJ2K, JPIP_HTJ2K_DEFLATE})

TRANSFER_SYNTAXES: Final = UNCOMPRESSED | STILL | VIDEO | _OTHER | _REFERENCED
"""Every transfer syntax of a file that we accept."""

ENCAPSULATED: Final = TRANSFER_SYNTAXES - UNCOMPRESSED - _REFERENCED | {ENCAPSULATED_UNCOMPRESSED}
"""Transfer syntaxes whose pixel data are a sequence of fragments."""


def is_uid(value: str) -> bool:
    """Whether `value` has `UID_FORM` (PS3.5 9.1).

    Tolerated, because real studies have them: components with leading zeros, and a single component. They
    are compared as text and not normalised. An empty component is never taken: `..` would name a folder.
    """
    return len(value) <= MAX_UID and _UID.match(value) is not None
