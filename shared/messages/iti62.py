"""Remove Metadata [ITI-62]: message semantics (supplement Remove Metadata and Documents, 3.62.4).

The action is still that of the transaction's old name, Delete Document Set. Tolerated in requests: white
space around ids, an id that is listed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shared.ebrim.codec import encode_object_ref
from shared.ebrim.identifiers import WHITE_SPACE
from shared.errors import Actor, InvalidRemoval, XdsError
from shared.messages.bounded import Bounded, counted
from shared.messages.registry import RegistryResponse, decode_response, failure, response_encoder
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, elements, qname

#: Objects that one request may name; a larger submission set is removed member by member.
MAX_REFERENCES = 1_000

_OBJECT_REF = qname("rim:ObjectRef")
_OBJECT_REF_LIST = qname("rim:ObjectRefList")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveMetadataRequest(Bounded):
    """The entryUUIDs of the objects to remove, once each; `errors` tell what is wrong with the message."""

    ids: tuple[str, ...]
    errors: tuple[XdsError, ...] = ()


def encode_request(request: RemoveMetadataRequest) -> MtomBody:
    """Encode `lcm:RemoveObjectsRequest`, with its namespaces."""
    return MtomBody(
        b"".join(
            (
                f'<lcm:RemoveObjectsRequest xmlns:lcm="{NS["lcm"]}" xmlns:rim="{NS["rim"]}">'.encode(),
                b"<rim:ObjectRefList>",
                *map(encode_object_ref, request.ids),
                b"</rim:ObjectRefList></lcm:RemoveObjectsRequest>",
            )
        )
    )


def decode_request(body: Element, _: Attachments) -> RemoveMetadataRequest:
    """Decode `lcm:RemoveObjectsRequest`; what is wrong with it stands in the value."""
    listed = body.find(_OBJECT_REF_LIST)
    references, refused = counted(
        () if listed is None else elements(listed), most=MAX_REFERENCES, what="objects"
    )
    ids = (item.get("id", "").strip(WHITE_SPACE) for item in references if item.tag == _OBJECT_REF)
    return RemoveMetadataRequest(
        ids=tuple(dict.fromkeys(filter(None, ids))),
        errors=tuple(_mistakes(body, references)),
        refused=refused,
    )


def _mistakes(body: Element, references: list[Element]) -> Iterator[XdsError]:
    if body.find(qname("rim:AdhocQuery")) is not None:
        yield InvalidRemoval("an AdhocQuery does not say what to remove here; list ObjectRefs")
    if body.get("deletionScope") is not None:
        yield InvalidRemoval("deletionScope is not known here; leave it out")
    if body.find(qname("rim:RegistryObjectList")) is not None or any(
        item.tag != _OBJECT_REF for item in references
    ):
        yield InvalidRemoval("objects are removed by their ids; list ObjectRefs alone")
    if any(not item.get("id", "").strip(WHITE_SPACE) for item in references if item.tag == _OBJECT_REF):
        yield InvalidRemoval("an ObjectRef has no id; give the entryUUID of the object")
    if not references:
        yield InvalidRemoval("nothing is listed; give an ObjectRefList with one ObjectRef or more")


ITI62: SoapTransaction[RemoveMetadataRequest, RegistryResponse] = SoapTransaction(
    number="ITI-62",
    name="Remove Metadata",
    action="urn:ihe:iti:2010:DeleteDocumentSet",
    response_action="urn:ihe:iti:2010:DeleteDocumentSetResponse",
    body_root=qname("lcm:RemoveObjectsRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=response_encoder(Actor.REGISTRY),
    decode_response=decode_response,
    failure=failure,
)
