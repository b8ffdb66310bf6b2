"""Text of DICOM by its Specific Character Set (PS3.5 6.1, PS3.3 C.12.1.1.2): one table of spellings.

Terms are read by what they mean: `ISO_IR 192 `, `ISO IR 192`, `UTF-8` are one. Code extensions may leave a
designation out that the standard asks for after a delimiter: what was designated stays, and what is not
ASCII is tried in each set that is declared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from shared.dicom.data_set import Tolerance

# Registrations of ISO 2375, as `ISO_IR n` and `ISO 2022 IR n` name them, by Python's names.
_REGISTERED: Final[Mapping[int, str]] = {
    6: "ascii",
    13: "shift_jis",
    58: "gb2312",
    87: "iso2022_jp",
    100: "latin_1",
    101: "iso8859_2",
    109: "iso8859_3",
    110: "iso8859_4",
    126: "iso8859_7",
    127: "iso8859_6",
    138: "iso8859_8",
    144: "iso8859_5",
    148: "iso8859_9",
    149: "euc_kr",
    159: "iso2022_jp_2",
    166: "iso8859_11",
    192: "utf_8",
    203: "iso8859_15",
}
# What else stands in the field, without the characters between letters and digits.
_NAMED: Final[Mapping[str, str]] = {
    "ASCII": "ascii",
    "USASCII": "ascii",
    "UTF8": "utf_8",
    "UNICODE": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "GB2312": "gb2312",
    "SHIFTJIS": "shift_jis",
    "SJIS": "shift_jis",
    "EUCKR": "euc_kr",
    "KSC5601": "euc_kr",
    "BIG5": "big5",
    "KOI8R": "koi8_r",
    "LATIN1": "latin_1",
    "ISO88591": "latin_1",
    "LATIN2": "iso8859_2",
    **{f"ISO8859{part}": f"iso8859_{part}" for part in (*range(2, 12), *range(13, 17))},
    **{f"{prefix}125{page}": f"cp125{page}" for prefix in ("WINDOWS", "CP", "WIN") for page in range(9)},
}
_REGISTRATION: Final = re.compile(r"(?:ISO)?(?:2022)?(?:IR)?([0-9]{1,3})\Z")
# Escape sequences of PS3.3 tables C.12-3 and C.12-4; the codecs of ISO 2022 want to see theirs.
_ESCAPES: Final[Mapping[bytes, str]] = {
    b"\x1b(B": "ascii",
    b"\x1b(J": "shift_jis",
    b"\x1b)I": "shift_jis",
    b"\x1b-A": "latin_1",
    b"\x1b-B": "iso8859_2",
    b"\x1b-C": "iso8859_3",
    b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7",
    b"\x1b-G": "iso8859_6",
    b"\x1b-H": "iso8859_8",
    b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9",
    b"\x1b-T": "iso8859_11",
    b"\x1b-b": "iso8859_15",
    b"\x1b$)C": "euc_kr",
    b"\x1b$)A": "gb2312",
}
_ISO_2022: Final[Mapping[bytes, str]] = {
    b"\x1b$B": "iso2022_jp",
    b"\x1b$@": "iso2022_jp",
    b"\x1b$(D": "iso2022_jp_2",
}
_ESCAPED: Final = re.compile(rb"(\x1b(?:\$\([A-Z]|\$\)[A-Z]|\$[@-B]|[()-][A-Za-z]))")

UNDECLARED: Final[tuple[str, ...]] = ()
"""No Specific Character Set: what is not ASCII is read as UTF-8 where it is that, else as ISO 8859-1."""


def encoding_of(term: str) -> str | None:
    """Python's name for a defined term, however it is spelled; None when nobody knows it."""
    plain = re.sub(r"[^A-Z0-9]", "", term.upper())
    if not plain:
        return "ascii"
    if match := _REGISTRATION.match(plain):
        return _REGISTERED.get(int(match[1]))
    return _NAMED.get(plain)


def encodings_of(value: bytes) -> tuple[tuple[str, ...], Tolerance | None]:
    """The encodings that a value of Specific Character Set declares; unknown terms are left out and told."""
    terms = [encoding_of(term) for term in value.decode("latin-1").split("\\")]
    encodings = tuple(term for term in terms if term is not None)
    unknown = Tolerance.UNKNOWN_CHARACTER_SET if len(encodings) < len(terms) else None
    return (encodings if encodings != ("ascii",) else UNDECLARED), unknown


def decode(value: bytes, encodings: Sequence[str]) -> tuple[str, Tolerance | None]:
    """The text of `value`, and what had to be tolerated to read it."""
    return _with_escapes(value, encodings) if b"\x1b" in value else _plain(value, encodings)


def _plain(value: bytes, encodings: Sequence[str]) -> tuple[str, Tolerance | None]:
    if value.isascii():
        return value.decode("ascii"), None
    if not encodings:
        return _undeclared(value), Tolerance.NO_CHARACTER_SET
    return _in_any(value, encodings)


def _undeclared(value: bytes) -> str:
    try:
        return value.decode("utf_8")
    except UnicodeDecodeError:
        return value.decode("latin_1")


def _in_any(value: bytes, encodings: Sequence[str]) -> tuple[str, Tolerance | None]:
    for encoding in encodings:
        try:
            return value.decode(encoding), None
        except UnicodeDecodeError:
            continue
    last = next((one for one in reversed(encodings) if not one.startswith("iso2022")), "ascii")
    return value.decode(last, "replace"), Tolerance.UNREADABLE_TEXT


def _with_escapes(value: bytes, encodings: Sequence[str]) -> tuple[str, Tolerance | None]:
    first, *rest = _ESCAPED.split(value)
    texts = [_plain(first, encodings)]
    for escape, octets in zip(rest[::2], rest[1::2], strict=True):
        if encoding := _ISO_2022.get(escape):
            texts.append(_in_any(escape + octets, (encoding,)))
        elif encoding := _ESCAPES.get(escape):
            texts.append(_in_any(octets, (encoding, *encodings)))
        else:
            texts.append((octets.decode("ascii", "replace"), Tolerance.UNREADABLE_TEXT))
    unreadable = next((tolerance for _, tolerance in texts if tolerance is not None), None)
    text = "".join(text for text, _ in texts)
    if "\x1b" in text:
        return text.replace("\x1b", "\ufffd"), Tolerance.UNREADABLE_TEXT
    return text, unreadable
