"""XOP packages: read as they arrive, written as one job (XOP 1.0; ITI TF-2 Appendix V.3.6)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.faults import SenderFault, SoapFault
from shared.http.incoming import SourceBroken
from shared.http.media_type import MULTIPART, SOAP_XML, XOP_XML, MediaType
from shared.http.multipart import MAX_PARTS, Headers, Part, Parts, content_id_of
from shared.http.passage import Passage, declared_length
from shared.http.pieces import FileRange, Piece, total_size
from shared.http.raw_asgi import BodyTooLarge
from shared.soap.inline import MAX_XML_BYTES, InlineScanner
from shared.soap.mtom import Attachment, Content, OneSource, Received, Relay
from shared.soap.spooling import MAX_DOCUMENT_BYTES, AttachmentSpool, forget
from shared.xml import PRESCAN_BYTES, XmlError

MAX_MESSAGE_BYTES = 2 * 1024**3
_HEADER_VALUE = re.compile(r"[ -~]{1,255}")
_CONTENT_ID = re.compile(r"[!-;=?-~]{1,255}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoapLimits:
    """What one message may weigh, and how many are worked on at once; sizes are in bytes.

    `parts` counts attachments. `receiving` messages may arrive at once, `working` be handled or wait for a
    database or a peer, `heavy` be parsed in threads; beyond that the service says that it is busy. One peer
    alone has half of the places.
    """

    message_bytes: int = MAX_MESSAGE_BYTES
    document_bytes: int = MAX_DOCUMENT_BYTES
    xml_bytes: int = MAX_XML_BYTES
    parts: int = MAX_PARTS - 1
    receiving: int = 512
    working: int = 136
    heavy: int = 4


@dataclass(slots=True)
class Package:
    """A message as it arrived: its XML, with inline documents moved out when it was large, and what it
    carries.

    `guarded` says that the limits of `shared.xml.XmlGuard` were held over `xml`. The files in `attachments`
    belong to whoever holds the package; `discard` removes those that were not moved away.
    """

    xml: bytes = b""
    attachments: dict[str, Received] = field(default_factory=dict)
    guarded: bool = False

    def discard(self) -> None:
        """Remove the temporary files."""
        for received in self.attachments.values():
            forget(received)


class _XmlReader:
    """The XML of a message on its way in: held while small, scanned in a thread from `PRESCAN_BYTES` on."""

    def __init__(self, package: Package, folder: Path | None, limits: SoapLimits) -> None:
        self._package = package
        self._folder = folder
        self._limits = limits
        self._held = bytearray()
        self._scanner: InlineScanner | None = None
        self._job: asyncio.Future[Any] | None = None

    async def read(self, chunks: AsyncIterator[bytes]) -> None:
        """Put the XML and its large inline documents into the package; fails as `InlineScanner.feed` does."""
        try:
            async for chunk in chunks:
                self._held += chunk
                if len(self._held) > PRESCAN_BYTES:
                    await self._scan(self._scanner or self._begin())
            if self._scanner is None:
                self._package.xml = bytes(self._held)
                return
            await self._scan(self._scanner)
            await self._settle()
            self._package.xml = await self._closed(self._scanner)
            self._package.guarded = True
        finally:
            # A request that is cancelled must not remove files under the thread.
            with suppress(OSError, BodyTooLarge, XmlError, SoapFault):
                await self._settle()
            if self._scanner is not None:
                self._scanner.discard()

    def _begin(self) -> InlineScanner:
        self._scanner = InlineScanner(
            self._folder,
            self._package.attachments,
            max_xml_bytes=self._limits.xml_bytes,
            max_document_bytes=self._limits.document_bytes,
        )
        return self._scanner

    async def _scan(self, scanner: InlineScanner) -> None:
        await self._settle()
        octets, self._held = bytes(self._held), bytearray()
        self._job = asyncio.get_running_loop().run_in_executor(None, scanner.feed, octets)

    async def _closed(self, scanner: InlineScanner) -> bytes:
        closing = asyncio.get_running_loop().run_in_executor(None, scanner.close)
        self._job = closing
        return await asyncio.shield(closing)

    async def _settle(self) -> None:
        if self._job is not None:
            await asyncio.shield(self._job)


async def read_package(
    package: Package, chunks: AsyncIterator[bytes], media_type: MediaType, *, folder: Path, limits: SoapLimits
) -> None:
    """Read one message, SIMPLE or XOP package, into `package`; attachments go to files below `folder`.

    When it fails, `package` holds what had arrived before; its holder discards it in any case.

    Raises
    ------
    SenderFault
        The package is not one, is truncated, or names no root part.
    XmlError
        The XML is not such that we accept; known here only when it is large.
    BodyTooLarge
        The message, its XML or one document is larger than its limit.
    OSError
        The file system does not take more.
    """
    limited = _limited(chunks, limits.message_bytes)
    if media_type.name != MULTIPART:
        await _XmlReader(package, None, limits).read(limited)
        return
    if media_type.parameter("type").lower() not in ("", XOP_XML):
        raise SenderFault(f'the type of a multipart/related message must be "{XOP_XML}" (MTOM)')
    await _read_parts(package, limited, media_type, folder, limits)


async def _limited(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > limit:
            raise BodyTooLarge(limit)
        yield chunk


async def _read_parts(
    package: Package, chunks: AsyncIterator[bytes], media_type: MediaType, folder: Path, limits: SoapLimits
) -> None:
    start = unbracketed(media_type.parameter("start"))
    rooted = False
    async for part in Parts(chunks, media_type.parameter("boundary"), max_parts=limits.parts + 1):
        if not rooted and is_root(part, start):
            rooted = True
            await read_root(package, part, folder, limits)
        elif part.content_id in package.attachments:
            raise SenderFault(f"two parts have the Content-ID <{part.content_id}>")
        elif part.content_id:
            package.attachments[part.content_id] = await spool_part(part, folder, limits)
    if not rooted:
        raise SenderFault(
            f"no part has the Content-ID <{start}> that start names" if start else "no part came"
        )


def unbracketed(content_id: str) -> str:
    """A Content-ID without white space and angle brackets, which some senders forget."""
    return content_id.strip().removeprefix("<").removesuffix(">")


def is_root(part: Part, start: str) -> bool:
    """Whether `part`, the first or one after parts that were not it, is the root."""
    if not start or part.content_id == start:
        return True
    return not part.content_id and part.content_type.lower().startswith(XOP_XML)


async def read_root(package: Package, part: Part, folder: Path, limits: SoapLimits) -> None:
    """Read the root part into `package`; its inline documents go to files when the XML is large."""
    await _XmlReader(package, folder, limits).read(part.chunks())


async def spool_part(part: Part, folder: Path, limits: SoapLimits) -> Received:
    """Write the content of `part` to a file of its own."""
    spool = AttachmentSpool(folder, max_bytes=limits.document_bytes)
    try:
        async for chunk in part.chunks():
            await spool.write(chunk)
        return await spool.finish()
    except BaseException:
        await spool.discard()
        raise


def write_package(
    envelope: bytes, attachments: Sequence[Attachment], *, action: str = ""
) -> tuple[str, list[Piece]]:
    """The Content-Type and the body of an XOP package; a package even without any attachment.

    The body is a list of pieces: bytes, and ranges of files that are never read into memory.
    """
    boundary, content_type, root = _opened(envelope)
    if action:
        content_type += f'; action="{action}"'
    pieces: list[Piece] = []
    gathered = bytearray(root)
    for content_id, content, content_type_of_part in attachments:
        if isinstance(content, FileRange) and content.length:
            head = _next_part_head(boundary, content_type_of_part, content_id, content.length)
            if gathered:
                head = bytes(gathered) + head
                gathered.clear()
            pieces += (head, content)
            continue
        of_part = _pieces(content)
        gathered += _next_part_head(boundary, content_type_of_part, content_id, total_size(of_part))
        for piece in of_part:
            if isinstance(piece, bytes):
                gathered += piece
            elif piece.length:
                pieces += (bytes(gathered), piece)
                gathered.clear()
    gathered += _closing(boundary)
    pieces.append(bytes(gathered))
    return content_type, pieces


def relay_package(envelope: bytes, relay: Relay) -> tuple[str, AsyncGenerator[bytes]]:
    """The Content-Type of an XOP package whose parts are still to come, and its body as it is made."""
    boundary, content_type, root = _opened(envelope)
    return content_type, _relayed(boundary, root, relay)


async def _relayed(boundary: str, root: bytes, relay: Relay) -> AsyncGenerator[bytes]:
    yield root
    async with aclosing(relay.parts()) as parts:
        async for part in parts:
            yield _next_part_head(boundary, part.content_type, part.content_id, part.length)
            async for chunk in part.chunks:
                yield chunk
    yield _closing(boundary)


def passing_package(envelope: bytes, source: OneSource) -> tuple[str, Passage]:
    """The Content-Type of an XOP package whose parts pass from another connection, and its body."""
    boundary, content_type, root = _opened(envelope)
    expected = source.expected

    def head_of(headers: Headers) -> bytes | None:
        part = expected.take(content_id_of(headers))
        if part is None:
            return None
        length = declared_length(headers)
        return _next_part_head(boundary, part.content_type, part.content_id, length)

    def closing() -> bytes:
        if expected:
            raise SourceBroken(f"{len(expected)} parts that were announced did not come")
        return _closing(boundary)

    return content_type, Passage(
        body=source.rest.body,
        scanner=source.rest.scanner,
        opening=root,
        head_of=head_of,
        closing=closing,
        stall_seconds=source.stall_seconds,
        on_broken=source.on_broken,
    )


def _opened(envelope: bytes) -> tuple[str, str, bytes]:
    """A boundary, the Content-Type of the package, and its first part without what ends it."""
    boundary, root = uuid4().hex, f"root.{uuid4().hex}@xdsi"
    content_type = (
        f'{MULTIPART}; boundary="{boundary}"; type="{XOP_XML}"; start="<{root}>"; start-info="{SOAP_XML}"'
    )
    head = _next_part_head(boundary, f'{XOP_XML}; charset=UTF-8; type="{SOAP_XML}"', root)
    return boundary, content_type, head.removeprefix(b"\r\n") + envelope


def _closing(boundary: str) -> bytes:
    return f"\r\n--{boundary}--\r\n".encode()


def _next_part_head(boundary: str, content_type: str, content_id: str, length: int | None = None) -> bytes:
    """What stands before a part, with the line end that begins its delimiter."""
    # It may come from a partner's metadata: nothing of it may end a header line.
    if not _CONTENT_ID.fullmatch(content_id):
        raise ValueError("a Content-ID must be printable ASCII without blanks and angle brackets")
    opening = _part_opening(boundary, content_type)
    if length is None:
        return b"%b%b>\r\n\r\n" % (opening, content_id.encode("ascii"))
    # Whoever passes the part on need not look for its end.
    return b"%b%b>\r\nContent-Length: %d\r\n\r\n" % (opening, content_id.encode("ascii"), length)


# All parts of a message open alike but for the name of each, and there are hundreds.
@lru_cache(maxsize=64)
def _part_opening(boundary: str, content_type: str) -> bytes:
    """What stands before the name of a part; the type may come from a partner's metadata as well."""
    if not _HEADER_VALUE.fullmatch(content_type):
        content_type = "application/octet-stream"
    return (
        f"\r\n--{boundary}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: binary\r\n"
        "Content-ID: <"
    ).encode("ascii")


def _pieces(content: Content) -> tuple[Piece, ...]:
    if isinstance(content, Received):
        return (FileRange(content.path, 0, content.size),)
    return content if isinstance(content, tuple) else (content,)
