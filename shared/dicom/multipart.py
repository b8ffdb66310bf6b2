"""multipart/related as DICOM web services write it (PS3.18 8.6.1.2, RFC 2387): the bytes around parts.

The type of the parts is quoted, the delimiter is CRLF and two hyphens, and the closing delimiter is never
left out.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

APPLICATION_DICOM = "application/dicom"


def new_boundary() -> str:
    """A boundary that no content can hold but by a chance of one in 2**128."""
    return f"xdsi-{secrets.token_hex(16)}"


def content_type(boundary: str, part_type: str = APPLICATION_DICOM) -> str:
    """The Content-Type of a message whose parts are of `part_type`."""
    return f'multipart/related; type="{part_type}"; boundary={boundary}'


def part_head(boundary: str, headers: list[tuple[str, str]]) -> bytes:
    """What stands before the content of a part: delimiter and header lines.

    The line end that begins it is not content of the part before; before the first part it is an empty
    preamble.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"\r\n--{boundary}\r\n{lines}\r\n".encode("ascii")


def part_heads(boundary: str, part_type: str, place: str, names: Sequence[str]) -> list[bytes]:
    """What stands before each of several parts of one type: they are at `place`, each with its name, a UID,
    behind it.
    """
    opening = f"\r\n--{boundary}\r\nContent-Type: {part_type}\r\nContent-Location: {place}".encode("ascii")
    return [b"%b%b\r\n\r\n" % (opening, name) for name in " ".join(names).encode("ascii").split(b" ")]


def closing(boundary: str) -> bytes:
    """What stands after the last part."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
