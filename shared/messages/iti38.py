"""Cross Gateway Query [ITI-38]: message semantics (ITI TF-2 3.38.4), and how answers pass a gateway.

The messages are those of ITI-18 with actions of their own. A gateway hands objects on as they came; it looks
at their `home` alone, so that nothing that a community writes is lost on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from lxml import etree

from shared.errors import XdsError
from shared.messages.iti18 import ITI18, StoredQueryRequest, StoredQueryResponse
from shared.messages.registry import decode_error_list, decode_status, unexplained
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import Element, elements, qname

ITI38: SoapTransaction[StoredQueryRequest, StoredQueryResponse] = replace(
    ITI18,
    number="ITI-38",
    name="Cross Gateway Query",
    action="urn:ihe:iti:2007:CrossGatewayQuery",
    response_action="urn:ihe:iti:2007:CrossGatewayQueryResponse",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedObject:
    """One object of an answer, as it came but for its `home`; `octets` declare their own namespaces."""

    name: str
    object_id: str
    home: str
    octets: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedAnswer:
    """The answer of one registry or community, to be handed on."""

    objects: tuple[RelayedObject, ...] = ()
    errors: tuple[XdsError, ...] = ()


def relayed(
    transaction: SoapTransaction[StoredQueryRequest, StoredQueryResponse], *, home: str = ""
) -> SoapTransaction[StoredQueryRequest, RelayedAnswer]:
    """`transaction` as a gateway asks it; with `home` every object gets that homeCommunityId (3.38.4.1.3)."""
    return SoapTransaction(
        number=transaction.number,
        name=transaction.name,
        action=transaction.action,
        response_action=transaction.response_action,
        body_root=transaction.body_root,
        encode_request=transaction.encode_request,
        decode_request=transaction.decode_request,
        encode_response=_never_sent,
        decode_response=partial(decode_relayed, home=home),
        failure=lambda errors: RelayedAnswer(errors=tuple(errors)),
    )


def _never_sent(answer: RelayedAnswer) -> MtomBody:
    raise TypeError("an answer on its way through a gateway is sent as a StoredQueryResponse")


def decode_relayed(element: Element, _: Attachments, *, home: str = "") -> RelayedAnswer:
    """Decode `query:AdhocQueryResponse` without looking into its objects.

    Raises
    ------
    SenderFault
        The status is absent.
    """
    errors = decode_error_list(element)
    listed = element.find(qname("rim:RegistryObjectList"))
    objects = () if listed is None else elements(listed)
    return RelayedAnswer(
        objects=tuple(_object(child, home) for child in objects),
        errors=unexplained(errors, decode_status(element, errors), "XDSRegistryError"),
    )


def _object(element: Element, home: str) -> RelayedObject:
    if home:
        element.set("home", home)
    return RelayedObject(
        name=element.tag.rpartition("}")[2],
        object_id=element.get("id", ""),
        home=element.get("home", "").strip(),
        octets=etree.tostring(element, with_tail=False),
    )
