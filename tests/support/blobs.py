"""Documents for stores of blobs, and what a store gives back."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import uuid4

from repository.store.blobs import Blobs
from shared.http.pieces import FileRange, PieceReader
from shared.soap.mtom import Content, Received


def spooled(blobs: Blobs, octets: bytes, name: str = "") -> Received:
    """`octets` as an upload left them."""
    path = blobs.incoming / (name or f"part-{uuid4()}")
    path.write_bytes(octets)
    return Received(path, len(octets), hashlib.sha1(octets).hexdigest(), hashlib.sha256(octets).hexdigest())


async def kept(blobs: Blobs, octets: bytes, **how: Any) -> Received:
    """`octets`, kept by the store; the upload's file is removed as its request would."""
    received = spooled(blobs, octets)
    await blobs.keep(received, **how)
    received.path.unlink(missing_ok=True)
    return received


def octets_of(content: Content) -> bytes:
    """What would be sent."""
    if isinstance(content, Received):
        content = FileRange(content.path, 0, content.size)
    reader = PieceReader(content if isinstance(content, tuple) else (content,))
    try:
        return b"".join(map(bytes, iter(reader.next_chunk, b"")))
    finally:
        reader.close()


async def nothing_is_referenced(digests: list[str]) -> set[str]:
    """Nothing refers to anything."""
    return set()
