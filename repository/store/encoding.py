"""How the bytes of a blob are written at rest: as they are, or encoded: compressed (zstd), encrypted
(AES-256-GCM), or both.

An encoded blob is a header and frames, so that it is written and read in constant memory. Every frame is
authenticated together with the header, the digest of the document, its number and whether it is the last:
frames cannot be changed, exchanged, left out or cut off. Without encryption a CRC-32 over the same takes the
place of the tag, against disks and not against people. Each blob has a key of its own, derived from the
master key and a random salt, so that the counter is a safe nonce.

    header   8 bytes magic, 1 byte flags, 8 bytes id of the master key, 16 bytes salt
    frame    4 bytes length of the payload (highest bit: last frame), payload
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from shared.settings import SettingsError

KEY_BYTES = 32
FRAME_BYTES = 256 * 1024
COMMAND_SECONDS = 30

_MAGIC = b"XDSI-B1\n"
_HEADER = struct.Struct("!8sB8s16s")
_LENGTH = struct.Struct("!I")
_LAST = 1 << 31
_OVERHEAD = 16
_COMPRESSED, _ENCRYPTED = 1, 2
_NO_KEY = bytes(8)

_LEVEL = 3
_WORTHWHILE = 0.9
_SMALLEST = 512
_TEXT = ("application/xml", "application/json", "application/hl7-v2+er7", "application/hl7-sda+xml")


class EncodingError(Exception):
    """The bytes are not what was written, or the key is not at hand; the text tells no key and no content."""


def read_key(path: Path) -> bytes:
    """A master key from its file: 32 bytes, or their 64 hexadecimal digits.

    Raises
    ------
    SettingsError
        The file holds no such key.
    """
    try:
        octets = path.read_bytes()
        key = octets if len(octets) == KEY_BYTES else bytes.fromhex(octets.decode("ascii").strip())
    except (OSError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            (
                f"XDSI_ENCRYPTION_KEYS: {path} must hold {KEY_BYTES} bytes, or {2 * KEY_BYTES} hexadecimal "
                "digits",
            )
        )
    return key


def printed_keys(command: Sequence[str]) -> list[bytes]:
    """The master keys that a program prints, one in hexadecimal digits on each line; blocks.

    Raises
    ------
    SettingsError
        It fails, takes longer than `COMMAND_SECONDS`, or prints anything else; what it prints is not shown.
    """
    try:
        done = subprocess.run(  # noqa: S603  # the administrator's own setting
            command, capture_output=True, timeout=COMMAND_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
        keys = [bytes.fromhex(line) for line in done.stdout.decode("ascii").split()]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise SettingsError(
            (f"XDSI_ENCRYPTION_KEY_COMMAND: {command[0]} gives no key ({type(error).__name__})",)
        ) from None
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise SettingsError(
            (
                f"XDSI_ENCRYPTION_KEY_COMMAND: {command[0]} must print {2 * KEY_BYTES} hexadecimal digits "
                "for each key",
            )
        )
    return keys


def is_text(mime_type: str) -> bool:
    """Whether documents of this type are worth compressing."""
    name = mime_type.partition(";")[0].strip().lower()
    return name.startswith("text/") or name in _TEXT or name.endswith(("+xml", "+json"))


def key_id(key: bytes) -> bytes:
    """What names a key in a header without telling anything of it."""
    return hashlib.sha256(b"xdsi key id" + key).digest()[:8]


@dataclass(frozen=True, slots=True)
class _Sum:
    """Adds a checksum to the frames of one blob that is not encrypted, and takes it off."""

    context: bytes

    def encrypt(self, number: int, last: bool, payload: bytes) -> bytes:
        return payload + self._sum(number, last, payload)

    def decrypt(self, number: int, last: bool, payload: bytes) -> bytes:
        payload, checksum = payload[:-4], payload[-4:]
        if checksum != self._sum(number, last, payload):
            raise EncodingError(f"frame {number} is not what was written")
        return payload

    def _sum(self, number: int, last: bool, payload: bytes) -> bytes:
        return _LENGTH.pack(zlib.crc32(payload, zlib.crc32(self.context + _nonce(number, last))))


@dataclass(frozen=True, slots=True)
class _Seal:
    """Encrypts and decrypts the frames of one blob."""

    cipher: AESGCM
    context: bytes

    @classmethod
    def of(cls, key: bytes, header: bytes, sha256: str) -> _Seal:
        salt = header[-16:]
        derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"xdsi blob").derive(key)
        return cls(AESGCM(derived), header + bytes.fromhex(sha256))

    def encrypt(self, number: int, last: bool, payload: bytes) -> bytes:
        return self.cipher.encrypt(_nonce(number, last), payload, self.context)

    def decrypt(self, number: int, last: bool, payload: bytes) -> bytes:
        try:
            return self.cipher.decrypt(_nonce(number, last), payload, self.context)
        except InvalidTag:
            raise EncodingError(f"frame {number} is not what was written") from None


def _nonce(number: int, last: bool) -> bytes:
    return struct.pack("!QI", number, last)


class Encoding:
    """What is done to blobs at rest.

    The first of `keys` encrypts, all of them decrypt. With `compress`, text and XML are compressed.
    """

    def __init__(self, keys: Sequence[bytes] = (), *, compress: bool = False) -> None:
        self._keys = {key_id(key): key for key in keys}
        self._current = key_id(keys[0]) if keys else _NO_KEY
        self._compress = compress

    def encode(self, source: Path, target: Path, *, sha256: str, mime_type: str = "") -> bool:
        """Write the document `source` to `target` in the form in which it is to be at rest; blocks.

        Returns
        -------
        bool
            False, and nothing was written, when the document is to stay as it is.
        """
        flags = self._flags(source, mime_type)
        if not flags:
            return False
        header = _HEADER.pack(_MAGIC, flags, self._current, os.urandom(16))
        seal = self._seal(flags, self._current, header, sha256)
        compressor = zstandard.ZstdCompressor(level=_LEVEL) if flags & _COMPRESSED else None
        with source.open("rb") as plain, target.open("wb") as encoded:
            encoded.write(header)
            for number, last, chunk in _numbered(plain):
                payload = compressor.compress(chunk) if compressor else chunk
                payload = seal.encrypt(number, last, payload)
                encoded.write(_LENGTH.pack(len(payload) | (_LAST if last else 0)))
                encoded.write(payload)
        return True

    def _flags(self, source: Path, mime_type: str) -> int:
        compress = self._compress and is_text(mime_type) and _is_worthwhile(source)
        return (_COMPRESSED if compress else 0) | (_ENCRYPTED if self._keys else 0)

    def decode(self, chunks: Iterator[bytes], *, sha256: str) -> Generator[bytes, None, None]:
        """The document in an encoded blob that comes in chunks of any size.

        Raises
        ------
        EncodingError
            It is not what was written, or was encrypted with a key that is not at hand.
        """
        source = _Buffered(chunks)
        header = source.take(_HEADER.size)
        magic, flags, key_name, _ = _HEADER.unpack(header)
        if magic != _MAGIC or flags not in (1, 2, 3):
            raise EncodingError("this is no encoded blob")
        seal = self._seal(flags, key_name, header, sha256)
        decompressor = zstandard.ZstdDecompressor() if flags & _COMPRESSED else None
        number, last = 0, False
        while not last:
            (length,) = _LENGTH.unpack(source.take(_LENGTH.size))
            last, length = bool(length & _LAST), length & ~_LAST
            if length > 2 * FRAME_BYTES + _OVERHEAD:
                raise EncodingError(f"frame {number} is longer than any that is written")
            payload = seal.decrypt(number, last, source.take(length))
            yield _inflated(decompressor, payload) if decompressor else payload
            number += 1
        if not source.at_end():
            raise EncodingError("something follows the last frame")

    def _seal(self, flags: int, key_name: bytes, header: bytes, sha256: str) -> _Seal | _Sum:
        if flags & _ENCRYPTED:
            return _Seal.of(self._key(key_name), header, sha256)
        return _Sum(header + bytes.fromhex(sha256))

    def _key(self, name: bytes) -> bytes:
        try:
            return self._keys[name]
        except KeyError:
            raise EncodingError(
                f"the blob was encrypted with the key {name.hex()}, which is not among XDSI_ENCRYPTION_KEYS"
            ) from None


def _numbered(plain: BinaryIO) -> Iterator[tuple[int, bool, bytes]]:
    """The frames of a document; one of no bytes has one."""
    number, chunk = 0, plain.read(FRAME_BYTES)
    while following := plain.read(FRAME_BYTES):
        yield number, False, chunk
        number, chunk = number + 1, following
    yield number, True, chunk


def _is_worthwhile(source: Path) -> bool:
    with source.open("rb") as file:
        sample = file.read(FRAME_BYTES)
    if len(sample) < _SMALLEST:
        return False
    return len(zstandard.ZstdCompressor(level=_LEVEL).compress(sample)) < _WORTHWHILE * len(sample)


def _inflated(decompressor: zstandard.ZstdDecompressor, payload: bytes) -> bytes:
    try:
        declared = zstandard.frame_content_size(payload)
        if not 0 <= declared <= FRAME_BYTES:
            raise EncodingError("a frame is larger than any that is written")
        return decompressor.decompress(payload)
    except zstandard.ZstdError:
        raise EncodingError("a frame does not decompress") from None


class _Buffered:
    """Takes exact numbers of bytes from chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise EncodingError("the blob ends early")
            self._buffer += chunk
        octets = bytes(self._buffer[:count])
        del self._buffer[:count]
        return octets

    def at_end(self) -> bool:
        return not self._buffer and next(self._chunks, None) is None
