"""The contract of a SOAP transaction: its message semantics, shared by both sides of the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.audit.events import Coded, ihe
from shared.errors import XdsError

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoapTransaction(Generic[Request, Response]):
    """Number, name, action URIs and the four codecs of a transaction.

    `body_root` is the qualified name (`{namespace}local`) of the request's body element. The codecs of a
    SIMPLE transaction read an element and write bytes without an XML declaration; those of an MTOM
    transaction read `(element, attachments)` and write `shared.soap.mtom.MtomBody`. `failure` makes the
    orderly response that carries errors and nothing else.
    """

    number: str
    name: str
    action: str
    response_action: str
    body_root: str
    encode_request: Callable[[Request], Any]
    decode_request: Callable[..., Request]
    encode_response: Callable[[Response], Any]
    decode_response: Callable[..., Response]
    failure: Callable[[Sequence[XdsError]], Response]
    mtom: bool = False

    @property
    def event_type(self) -> Coded:
        """The EventTypeCode of its audit records."""
        return ihe(self.number, self.name)
