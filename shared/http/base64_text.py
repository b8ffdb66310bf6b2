"""base64 as text of any size, decoded in pieces (XML Schema part 2, 3.2.16; RFC 2045 6.8)."""

from __future__ import annotations

import binascii

from shared.faults import SenderFault

_BLANKS = b" \t\r\n"


class Base64Decoder:
    """Decodes what is fed, with white space anywhere; what is not base64 raises `SenderFault`.

    `empty` tells whether nothing but white space came.
    """

    def __init__(self, where: str) -> None:
        self.empty = True
        self._where = where
        self._rest = b""
        self._padded = False

    def feed(self, text: bytes) -> bytes:
        """The octets that `text` completes."""
        digits = self._rest + text.translate(None, _BLANKS)
        if not digits:
            return b""
        self.empty = False
        if self._padded:
            raise self._fault("goes on after its padding")
        whole = len(digits) - len(digits) % 4
        self._rest = digits[whole:]
        try:
            octets = binascii.a2b_base64(digits[:whole], strict_mode=True)
        except binascii.Error:
            raise self._fault("holds characters that are not base64") from None
        self._padded = digits[:whole].endswith(b"=")
        return octets

    def close(self) -> None:
        """Say that the text ends here."""
        if self._rest:
            raise self._fault("is cut short: its length is not a multiple of four")

    def _fault(self, what: str) -> SenderFault:
        return SenderFault(f"the base64 text of {self._where} {what}")
