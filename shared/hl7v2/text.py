"""Text of HL7 v2 as people read it: TX and FT, whose escape sequences become line ends and characters (HL7
v2.5.1 2.7 and 2.A.31).

Tolerated: separators of components in the text, which senders seldom escape, and sequences of a site's own.
What stands in another character set within the text is shown as not readable, and never as something else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

_SEQUENCE: Final = re.compile(r"\\([^\\\r\n]{0,64})\\")
_SEPARATORS: Final = {"F": "|", "S": "^", "R": "~", "T": "&", "E": "\\"}
_LINES: Final = re.compile(r"\.sp\s*\+?(\d{1,2})?")
_SPACES: Final = re.compile(r"\.sk\s*(\d{1,2})")
_UNREADABLE: Final = "\N{REPLACEMENT CHARACTER}"
#: What neither XML nor a page carries.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def plain(field: str) -> str:
    """The text of a field, its repetitions one below the other."""
    return _CONTROL.sub("", "\n".join(map(_unescaped, field.split("~"))))


def _unescaped(text: str) -> str:
    return _SEQUENCE.sub(_meaning, text) if "\\" in text else text


def _meaning(match: re.Match[str]) -> str:
    sequence = match[1]
    if sequence in _SEPARATORS:
        return _SEPARATORS[sequence]
    if sequence in (".br", ".ce"):
        return "\n"
    if lines := _LINES.fullmatch(sequence):
        return "\n" * int(lines[1] or 1)
    if spaces := _SPACES.fullmatch(sequence):
        return " " * int(spaces[1])
    if sequence[:1] == "X":
        return _characters(sequence[1:])
    return _UNREADABLE if sequence[:1] in ("C", "M") else ""


def _characters(digits: str) -> str:
    with suppress(ValueError):
        octets = bytes.fromhex(digits).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        with suppress(UnicodeDecodeError):
            return octets.decode()
        return octets.decode("latin-1")
    return _UNREADABLE
