"""The contract of a SOAP transaction: its message semantics, shared by both sides of the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from shared.audit.events import Coded, ihe
from shared.errors import XdsError
from shared.soap.mtom import Attachments, MtomBody
from shared.xml import Element

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoapTransaction(Generic[Request, Response]):
    """Number, name, action URIs and the four codecs of a transaction.

    `body_root` is the qualified name (`{namespace}local`) of the request's body element. The codecs read an
    element and the attachments of its message, and write the body; only messages of an MTOM transaction
    (`mtom`) have attachments. `failure` makes the orderly response that carries errors and nothing else.
    """

    number: str
    name: str
    action: str
    response_action: str
    body_root: str
    encode_request: Callable[[Request], MtomBody]
    decode_request: Callable[[Element, Attachments], Request]
    encode_response: Callable[[Response], MtomBody]
    decode_response: Callable[[Element, Attachments], Response]
    failure: Callable[[Sequence[XdsError]], Response]
    mtom: bool = False

    @property
    def event_type(self) -> Coded:
        """The EventTypeCode of its audit records."""
        return ihe(self.number, self.name)
