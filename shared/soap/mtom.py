"""MTOM values: what a message carries beside its XML (SOAP 1.2 MTOM, XOP; ITI TF-2 Appendix V.3).

Messages are read and written by `shared.soap.package`; inline base64 becomes attachments there, so that
decoders meet `xop:Include` and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote, unquote

from shared.faults import SenderFault
from shared.http.links import ReceivedBody
from shared.http.multipart import DelimiterScanner
from shared.http.raw_asgi import FileRange, Piece
from shared.xml import NS, Element, elements, escape_attribute, text

XOP = NS["xop"]
INCLUDE = f"{{{XOP}}}Include"


@dataclass(frozen=True, slots=True)
class Received:
    """One document as it arrived: an attachment, or inline base64 after decoding.

    `path` is a temporary file with exactly the document's bytes; the request deletes it unless it was moved
    away. `size` is in bytes, `sha1` and `sha256` are lower-case hexadecimal.
    """

    path: Path
    size: int
    sha1: str
    sha256: str


Content = bytes | FileRange | Received | tuple[Piece, ...]
"""The bytes of one document; several pieces follow each other."""


class Attachment(NamedTuple):
    """One part to send; `content_id` is without angle brackets and unique in its message."""

    content_id: str
    content: Content
    content_type: str = "application/octet-stream"


class RelayedPart(NamedTuple):
    """One part on its way through; `content_id` is the one of our own message, `length` that of its content
    where it is known before.
    """

    content_id: str
    content_type: str
    chunks: AsyncIterator[bytes]
    length: int | None = None


class RelayedBody(NamedTuple):
    """Where the parts come from, when all of them come as the rest of one body."""

    body: ReceivedBody
    scanner: DelimiterScanner


class Destination(NamedTuple):
    """Under which name, and as what, a part goes on."""

    content_id: str
    content_type: str


class Expected:
    """The parts of one answer that are to go on, by their Content-ID there; `destination` tells of each where
    to, when it comes."""

    def __init__(self, numbers: dict[str, int], destination: Callable[[int], Destination]) -> None:
        self._numbers = numbers
        self._destination = destination

    def __len__(self) -> int:
        """How many have not come."""
        return len(self._numbers)

    def take(self, content_id: str) -> Destination | None:
        """Where the part that came goes on; None for one that does not, or has already."""
        number = self._numbers.pop(content_id, None)
        return None if number is None else self._destination(number)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSource:
    """The one answer that brings all the parts.

    Parameters
    ----------
    rest
        Its body, from its first part on.
    expected
        The parts that go on; others are dropped.
    stall_seconds
        How long nothing may come.
    on_broken
        Learns that they did not all come.
    """

    rest: RelayedBody
    expected: Expected
    stall_seconds: float
    on_broken: Callable[[], Awaitable[None]]


class Relay(Protocol):
    """Parts that arrive from somewhere else while they are sent, so that nothing is kept of them."""

    def parts(self) -> AsyncGenerator[RelayedPart]:
        """Each part once; its chunks are taken before the next part is asked for.

        Raises
        ------
        BodyBroken
            What was promised does not come.
        """
        ...

    @property
    def one_source(self) -> OneSource | None:
        """Where all parts come from, when they may pass from socket to socket; they do not come by `parts`
        then."""
        ...

    async def aclose(self) -> None:
        """Let go of where the parts come from, taken or not."""
        ...


@dataclass(frozen=True, slots=True)
class MtomBody:
    """The element of the body, bytes without XML declaration, and the parts that its `xop:Include`s name."""

    xml: bytes
    attachments: tuple[Attachment, ...] = ()
    relay: Relay | None = None


Attachments = Mapping[str, Received]


def include(content_id: str) -> str:
    """The `xop:Include` element that stands for the part `content_id`."""
    href = escape_attribute(quote(content_id, safe="@.-_~!$'()*+,;=:"))
    return f'<xop:Include xmlns:xop="{XOP}" href="cid:{href}"/>'


def resolve(document: Element, attachments: Attachments) -> Received | None:
    """What the `xop:Include` child of `document` refers to.

    Returns
    -------
    Received | None
        None when the part that the href names is not in the message.

    Raises
    ------
    SenderFault
        `document` has no include, more beside it, or an href that is not a `cid:` (XOP 1.0, 3.2).
    """
    children = list(elements(document))
    if len(children) != 1 or children[0].tag != INCLUDE or text(document):
        name = document.tag.rpartition("}")[2]
        raise SenderFault(f"{name} holds neither base64 nor exactly one xop:Include")
    href = children[0].get("href", "")
    if not href.lower().startswith("cid:"):
        name = document.tag.rpartition("}")[2]
        raise SenderFault(f"the xop:Include in {name} needs an href that starts with cid:")
    return attachments.get(unquote(href[4:]))
