"""The key that signs heads and checkpoints, and the file in which checkpoints are published.

Key and file stand in the service's folder and not in the database, so that who can change the database
alone cannot also sign. Copy the file, or the log, where administrators of the repository cannot write: it
is the witness.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from audit_repository.domain.chain import Checkpoint
from shared.store.folders import make_folder, sync

PRIVATE = "audit-signing.key"
PUBLIC = "audit-signing.pub"
PUBLISHED = "checkpoints.jsonl"
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)


class SigningKeyError(Exception):
    """The key that signs the trail cannot be used; the text names the file and the remedy."""


class Signer:
    """Signs with the key of `folder`, which is made, readable by its owner alone, when there is none."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        path = folder / PRIVATE
        if not path.exists():
            _create(path)
        self._key = _private(path)
        if not (folder / PUBLIC).exists():
            _write(folder / PUBLIC, public_key_of(folder), 0o644)

    def sign(self, statement: bytes) -> bytes:
        """An Ed25519 signature."""
        return self._key.sign(statement)


def public_key_of(folder: Path) -> bytes:
    """The public key, in PEM, of the key that signs in `folder`; raises `SigningKeyError` without one."""
    public = _private(folder / PRIVATE).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class Verifier:
    """Checks signatures with one of the public keys `pem`: a trail that was restored goes on under the key of
    its new place.

    Raises
    ------
    SigningKeyError
        `pem`, of the place `place`, is no Ed25519 key, or not only such.
    """

    def __init__(self, pem: bytes, place: str) -> None:
        try:
            keys = [load_pem_public_key(one) for one in _PEM.findall(pem)]
        except ValueError as error:
            raise SigningKeyError(
                f"{place} is not the public key of the trail; restore it from a copy"
            ) from error
        self._keys = [key for key in keys if isinstance(key, Ed25519PublicKey)]
        if not keys or len(self._keys) < len(keys):
            raise SigningKeyError(f"{place} is not an Ed25519 key; restore it from a copy")

    def holds(self, signature: bytes, statement: bytes) -> bool:
        """Whether `signature` is of `statement`."""
        return any(_verifies(key, signature, statement) for key in self._keys)


def verifier_of(folder: Path) -> Verifier:
    """The verifier by the public keys of `folder`; raises `SigningKeyError`."""
    path = folder / PUBLIC
    try:
        return Verifier(path.read_bytes(), str(path))
    except OSError as error:
        raise SigningKeyError(f"{path} is not the public key of the trail; restore it from a copy") from error


def _verifies(key: Ed25519PublicKey, signature: bytes, statement: bytes) -> bool:
    try:
        key.verify(signature, statement)
    except InvalidSignature:
        return False
    return True


def succeed(folder: Path, before: bytes) -> None:
    """Let the key of `folder`, made when there is none, go on with a trail of the public keys `before`."""
    Signer(folder)
    own = public_key_of(folder)
    _write(folder / PUBLIC, before if own in before else before + own, 0o644)


def check_key(folder: Path) -> None:
    """Read the private key of `folder`, if there is one.

    Raises
    ------
    SigningKeyError
        It cannot be used.
    """
    if (folder / PRIVATE).exists():
        _private(folder / PRIVATE)


def _create(path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def _write(path: Path, octets: bytes, mode: int) -> None:
    part = path.with_suffix(path.suffix + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(descriptor, "wb") as file:  # noqa: PTH123  # a descriptor made with its mode
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    sync(path.parent)


def _private(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise SigningKeyError(f"{path} cannot be read as a private key; restore it from a copy") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningKeyError(f"{path} is not an Ed25519 key; restore it from a copy")
    return key


def publish(folder: Path, signed: Sequence[tuple[Checkpoint, bytes]]) -> None:
    """Append checkpoints to the published file, durably; a line that a crash cut short is taken off first."""
    lines = [json.dumps(_line(checkpoint, signature)) for checkpoint, signature in signed]
    path = folder / PUBLISHED
    with path.open("ab") as file:
        file.truncate(_whole(path))
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _line(checkpoint: Checkpoint, signature: bytes) -> dict[str, str | int]:
    return {
        "sequence": checkpoint.sequence,
        "chain": checkpoint.chain,
        "time": checkpoint.time,
        "previous": checkpoint.previous,
        "signature": signature.hex(),
    }


def _whole(path: Path) -> int:
    """Octets of the file up to its last line end."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4096))
        tail = file.read()
    return size - len(tail) + tail.rfind(b"\n") + 1


@dataclass(frozen=True, slots=True)
class PublishedCheckpoint:
    """One line of the published file; `checkpoint` is None when the line cannot be read."""

    line: int
    checkpoint: Checkpoint | None = None
    signature: bytes = b""


def published(folder: Path) -> Iterator[PublishedCheckpoint]:
    """The published checkpoints, oldest first; a last line that a crash cut short is left out."""
    path = folder / PUBLISHED
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                return
            try:
                read = json.loads(line)
                signature = bytes.fromhex(read.pop("signature"))
                yield PublishedCheckpoint(number, Checkpoint(**read), signature)
            except (ValueError, TypeError, KeyError, AttributeError):
                yield PublishedCheckpoint(number)


def last_published(folder: Path) -> int:
    """Sequence of the newest published checkpoint, 0 when there is none."""
    checkpoints = (line.checkpoint for line in published(folder))
    return max((checkpoint.sequence for checkpoint in checkpoints if checkpoint is not None), default=0)
