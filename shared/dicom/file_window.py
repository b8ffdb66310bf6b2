"""Bytes of a file by position, of which a piece is kept: most of what is looked at stands close together."""

from __future__ import annotations

import os
from typing import Final

_KEPT: Final = 16 * 1024
_COMPARED: Final = 1024**2


class FileWindow:
    """The file of `descriptor`; `window` are bytes of it from `start`."""

    __slots__ = ("descriptor", "start", "window")

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.window = b""
        self.start = 0

    def move(self, at: int, length: int) -> bytes:
        """Let `window` hold the `length` bytes from `at`, or as many as there are, and return it."""
        place = at - self.start
        if place < 0 or place + length > len(self.window):
            self.window = os.pread(self.descriptor, max(length, _KEPT), at)
            self.start = at
        return self.window

    def octets(self, at: int, length: int) -> bytes:
        """The `length` bytes from `at`; fewer at the end of the file."""
        window = self.move(at, length)
        place = at - self.start
        return window[place : place + length]

    def unkept(self, at: int, length: int) -> bytes:
        """As `octets`; what is kept stays."""
        return os.pread(self.descriptor, length, at)

    def repeats(self, at: int, other: int, length: int) -> bool:
        """Whether the `length` bytes from `at` and those from `other` are the same."""
        return all(
            self.unkept(at + done, min(_COMPARED, length - done))
            == self.unkept(other + done, min(_COMPARED, length - done))
            for done in range(0, length, _COMPARED)
        )
