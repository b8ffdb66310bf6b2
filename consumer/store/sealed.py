"""Files that only this process can read: each is sealed by a key of its own, which lives in memory alone."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.http.pieces import BodyBroken, Stream

_CHUNK: Final = 64 * 1024
_TAG: Final = 16


@dataclass(frozen=True, slots=True)
class SealedFile:
    """`size` bytes in the file `path`, whose plain SHA-256 is `sha256`; without `key` nobody reads them.

    They begin at `place`, and their first chunk is that of `number` in the file.
    """

    path: Path
    size: int
    sha256: str
    key: bytes = field(repr=False)
    place: int = 0
    number: int = 0

    def chunks(self) -> Generator[bytes, None, None]:
        """The plain bytes in order; blocks.

        Raises
        ------
        BodyBroken
            The file is gone, or not what was written.
        """
        return self.part(0, self.size)

    def part(self, offset: int, length: int) -> Generator[bytes, None, None]:
        """`length` of the plain bytes from `offset`, in order; blocks, and raises as `chunks`."""
        cipher, end = AESGCM(self.key), offset + length
        try:
            with self.path.open("rb") as file:
                file.seek(self.place + offset // _CHUNK * (_CHUNK + _TAG))
                for number in range(offset // _CHUNK, -(-end // _CHUNK)):
                    octets = file.read(_TAG + min(_CHUNK, self.size - number * _CHUNK))
                    chunk = cipher.decrypt(_nonce(self.number + number), octets, None)
                    first = number * _CHUNK
                    yield chunk[max(0, offset - first) : end - first]
        except (OSError, InvalidTag) as error:
            raise BodyBroken(f"a sealed file cannot be read: {type(error).__name__}") from None

    def octets(self) -> bytes:
        """All of them; blocks, and raises as `chunks`."""
        return b"".join(self.chunks())

    @property
    def piece(self) -> Stream:
        """The plain bytes, as they are sent."""
        return Stream(self.size, self.chunks)

    def open(self, target: Path) -> None:
        """Write the plain bytes to `target`; blocks, and raises as `chunks`."""
        with target.open("wb") as file:
            file.writelines(self.chunks())


class Sealing:
    """A new file `path` in which one thing is sealed behind the other, by one key; to be closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = AESGCM.generate_key(256)
        self._cipher = AESGCM(self._key)
        self._number = 0
        self._file = path.open("xb")

    def add(self, chunks: Iterable[bytes]) -> SealedFile:
        """Write `chunks`, sealed; blocks, and raises `OSError`."""
        place, first, size, digest = self._file.tell(), self._number, 0, hashlib.sha256()
        for chunk in _even(chunks):
            digest.update(chunk)
            size += len(chunk)
            self._file.write(self._cipher.encrypt(_nonce(self._number), chunk, None))
            self._number += 1
        return SealedFile(self._path, size, digest.hexdigest(), self._key, place, first)

    def close(self) -> None:
        """Write what is left; blocks, and raises `OSError`."""
        self._file.close()


def _even(chunks: Iterable[bytes]) -> Iterator[memoryview]:
    """The same bytes in pieces of `_CHUNK`, copied only where one goes on in the next of `chunks`."""
    rest = b""
    for chunk in chunks:
        view = memoryview(rest + chunk if rest else chunk)
        whole = len(view) // _CHUNK * _CHUNK
        yield from (view[start : start + _CHUNK] for start in range(0, whole, _CHUNK))
        rest = bytes(view[whole:])
    if rest:
        yield memoryview(rest)


def _nonce(number: int) -> bytes:
    # A key seals one file, so that a number is used once.
    return number.to_bytes(12, "big")
