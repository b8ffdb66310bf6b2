"""Which transfer syntax an instance is given in: one rule for RAD-69, WADO-RS and WADO-URI.

RAD TF-2 4.69.4 states what the consumer can process; PS3.18 8.7.3.5.2 what holds when nothing was asked.
Nothing is ever encoded anew into a lossy syntax, and nothing is substituted silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    RLE,
    TRANSFER_SYNTAXES,
    VIDEO,
)

ANY = "*"
MAX_EXPLICIT_LENGTH = 2**32 - 2

MAX_ENCODED_SIZE = 512 * 1024**2
"""Most bytes of pixels that are compressed on demand; more would take more memory than a worker has."""

_PLAIN = frozenset({IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE})

# In this order: what every reader can take, then lossless compression.
_PREFERRED = (EXPLICIT_LE, IMPLICIT_LE, JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, RLE, DEFLATED_LE)


@dataclass(frozen=True, slots=True)
class AsStored:
    """Give the file as it was received."""


@dataclass(frozen=True, slots=True)
class Transcode:
    """Give the instance in the transfer syntax `to`; no pixel changes."""

    to: str


@dataclass(frozen=True, slots=True)
class Impossible:
    """The instance cannot be given; `reason` may be shown to the caller."""

    reason: str


Choice = AsStored | Transcode | Impossible


@dataclass(frozen=True, slots=True)
class Codecs:
    """What this installation can do: syntaxes whose pixels it decodes, and lossless ones that it encodes."""

    decodable: frozenset[str]
    encodable: frozenset[str]


SHIPPED = Codecs(
    decodable=frozenset(
        {
            JPEG_LS_LOSSLESS,
            JPEG_LS_NEAR,
            JPEG_2000_LOSSLESS,
            JPEG_2000,
            HTJ2K_LOSSLESS,
            HTJ2K_LOSSLESS_RPCL,
            HTJ2K,
            RLE,
            JPEG_BASELINE,
            JPEG_EXTENDED,
            JPEG_LOSSLESS,
            JPEG_LOSSLESS_SV1,
            DEFLATED_FRAMES,
        }
    ),
    encodable=frozenset({JPEG_LS_LOSSLESS, JPEG_2000_LOSSLESS, RLE}),
)
"""What every installation can do."""


def choose(
    stored: str,
    acceptable: Sequence[str],
    has_pixels: bool,
    *,
    decoded_size: int = 0,
    codecs: Codecs = SHIPPED,
) -> Choice:
    """Choose how to give an instance to a consumer that asked for `acceptable` transfer syntaxes.

    Parameters
    ----------
    acceptable
        A set: its order means nothing. `*` accepts whatever is stored; unknown UIDs beside a known one are
        ignored.
    has_pixels
        Without pixels every listed syntax is met by Explicit VR Little Endian, or Implicit if that alone is
        listed.
    decoded_size
        Bytes of the pixel data without compression; beyond 2**32 - 2 they fit no plain value field.
    """
    if ANY in acceptable:
        return AsStored()
    syntaxes = frozenset(acceptable) & TRANSFER_SYNTAXES
    if not syntaxes:
        return Impossible("none of the transfer syntaxes asked for is known here")
    if stored in syntaxes:
        return AsStored()
    if stored == EXPLICIT_BE:
        return Impossible("stored as Explicit VR Big Endian, which is given as stored only")
    if not has_pixels:
        return _without_pixels(stored, syntaxes)
    if reason := _undecodable(stored, codecs):
        return Impossible(reason)
    for syntax in _PREFERRED:
        if syntax in syntaxes and _reachable(syntax, decoded_size, codecs):
            return Transcode(syntax)
    return Impossible(f"stored as {stored}; it can be given in none of the transfer syntaxes asked for")


def choose_default(
    stored: str, has_pixels: bool, *, decoded_size: int = 0, codecs: Codecs = SHIPPED
) -> Choice:
    """Choose when the caller asked for no transfer syntax (PS3.18 8.7.3.5.2): Explicit VR Little Endian.

    Pixels that cannot be decoded (video, a syntax without decoder) or would be too long are given as stored.
    """
    choice = choose(stored, (EXPLICIT_LE,), has_pixels, decoded_size=decoded_size, codecs=codecs)
    return AsStored() if isinstance(choice, Impossible) else choice


def _without_pixels(stored: str, syntaxes: frozenset[str]) -> Choice:
    to = IMPLICIT_LE if IMPLICIT_LE in syntaxes and EXPLICIT_LE not in syntaxes else EXPLICIT_LE
    return AsStored() if stored == to else Transcode(to)


def _undecodable(stored: str, codecs: Codecs) -> str:
    if stored in VIDEO:
        return f"stored as video ({stored}), which is given as stored only"
    if stored in _PLAIN or stored == ENCAPSULATED_UNCOMPRESSED or stored in codecs.decodable:
        return ""
    return f"stored as {stored}, for which this installation has no decoder"


def _reachable(syntax: str, decoded_size: int, codecs: Codecs) -> bool:
    if syntax in (EXPLICIT_LE, IMPLICIT_LE):
        return decoded_size <= MAX_EXPLICIT_LENGTH
    return decoded_size <= MAX_ENCODED_SIZE and (syntax == DEFLATED_LE or syntax in codecs.encodable)
