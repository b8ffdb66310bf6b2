"""One exchange on its way: what is known of it so far, and how it may end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.faults import ReceiverFault, SenderFault
from shared.http.media_type import MULTIPART, MediaType
from shared.http.passage import Passage
from shared.http.raw_asgi import Piece, Scope
from shared.perform import Closable
from shared.security.caller import Caller, Node
from shared.soap.package import Package
from shared.soap.served import Served
from shared.telemetry.metrics import Result


class MessageTooLarge(SenderFault):
    """A limit of size was passed."""

    status = 413


class EncodingRefused(SenderFault):
    """The body came with a Content-Encoding."""

    status = 415


class ServiceUnavailable(ReceiverFault):
    """The service cannot do it now; try again later."""

    status = 503


@dataclass(slots=True)
class Exchange:
    """What is known so far of one exchange; a fault, and the end of it, need what the steps before found."""

    scope: Scope
    endpoint: str
    node: Node
    package: Package = field(default_factory=Package)
    media_type: MediaType | None = None
    message_id: str = ""
    served: Served[Any, Any] | None = None
    request: Any = None
    caller: Caller | None = None
    received: float = 0.0
    result: Result = Result.FAULT
    relay: Closable | None = None

    @property
    def mtom(self) -> bool:
        """Whether the request came as an XOP package, so that the answer will."""
        return self.media_type is not None and self.media_type.name == MULTIPART


@dataclass(frozen=True, slots=True)
class Reply:
    """What will be sent: pieces, a `stream` or a `passage`; `retry` asks the client to come again."""

    status: int
    content_type: str
    pieces: Sequence[Piece] = ()
    retry: bool = False
    stream: AsyncGenerator[bytes] | None = None
    passage: Passage | None = None
