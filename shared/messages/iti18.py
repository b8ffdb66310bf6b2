"""Registry Stored Query [ITI-18]: message semantics (ITI TF-2 3.18.4).

Tolerated in requests: blanks in and around the query id; any `returnType` (the registry answers what it does
not know with an orderly error); a parameter without values, which counts as absent; the paging attributes of
ebRS, ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from lxml import etree

from shared.ebrim.codec import NOTHING, RegistryObjects, decode_objects
from shared.ebrim.query_values import (
    MAX_ALTERNATIVES,
    MAX_SLOTS,
    MAX_VALUE,
    Value,
    check_numbers,
    encode_value,
)
from shared.errors import Actor, StoredQueryParamNumber, XdsError
from shared.messages.bounded import Bounded
from shared.messages.registry import (
    RS,
    Status,
    decode_error_list,
    decode_status,
    encode_error_list,
    has_error,
    unexplained,
)
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, attribute, child, escape, escape_attribute, qname, text

#: Parameters of a refused query that the trail is told.
_TOLD = 20

_SLOT, _VALUE_LIST, _VALUE = qname("rim:Slot"), qname("rim:ValueList"), qname("rim:Value")

#: The values of one Slot are alternatives; Slots of the same name must all be met (ITI TF-2 3.18.4.1.2.3.5).
Clauses = tuple[tuple[str, ...], ...]


class ReturnType(StrEnum):
    """What a query answers with; XDS defines LeafClass and ObjectRef, the others are representable and
    refused."""

    LEAF_CLASS = "LeafClass"
    OBJECT_REF = "ObjectRef"
    REGISTRY_OBJECT = "RegistryObject"
    LEAF_CLASS_WITH_REPOSITORY_ITEM = "LeafClassWithRepositoryItem"
    UNKNOWN = ""

    @classmethod
    def _missing_(cls, value: object) -> ReturnType:
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueryRequest(Bounded):
    """A stored query and its parameters; `$` is part of a parameter's name.

    Values are as on the wire: quotes, lists and code forms are read by `shared.ebrim.query_values`. `home` is
    the homeCommunityId of `AdhocQuery`; `octets` is the AdhocQueryRequest as it was received, for the audit
    trail. A `refused` one has its short parameters alone.
    """

    query_id: str
    return_type: ReturnType
    parameters: Mapping[str, Clauses]
    home: str = ""
    octets: bytes = field(default=b"", compare=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredQueryResponse:
    """The answer: `fragments` to send (undeclared `rim:` elements), or `objects` as decoded."""

    fragments: Sequence[bytes] = ()
    errors: tuple[XdsError, ...] = ()
    objects: RegistryObjects = NOTHING

    @property
    def status(self) -> Status:
        """Success without errors; with them PartialSuccess beside objects, and Failure alone."""
        if not has_error(self.errors):
            return Status.SUCCESS
        return Status.PARTIAL_SUCCESS if self.fragments or self.objects else Status.FAILURE


def failure(errors: Sequence[XdsError]) -> StoredQueryResponse:
    """The orderly response that carries `errors` and nothing else."""
    return StoredQueryResponse(errors=tuple(errors))


def encode_parameters(values: Mapping[str, Value | Sequence[Value]]) -> dict[str, Clauses]:
    """The parameters of a request from plain values (ITI TF-2 3.18.4.1.2.3.5).

    A string is quoted, a number or a `Timestamp` is not; a sequence becomes a list of alternatives, over
    several Values where the schema's length asks for it. An empty sequence leaves the parameter out.
    """
    encoded = {name: encode_value(value) for name, value in values.items()}
    return {name: (clause,) for name, clause in encoded.items() if clause}


# --- request -----------------------------------------------------------------------------------------


def encode_request(request: StoredQueryRequest) -> MtomBody:
    """Encode `query:AdhocQueryRequest`."""
    return MtomBody("".join(_adhoc_query_request(request)).encode())


def _adhoc_query_request(request: StoredQueryRequest) -> Iterator[str]:
    home = f' home="{escape_attribute(request.home)}"' if request.home else ""
    yield f'<query:AdhocQueryRequest xmlns:query="{NS["query"]}" xmlns:rim="{NS["rim"]}">'
    yield f'<query:ResponseOption returnComposedObjects="true" returnType="{request.return_type}"/>'
    yield f'<rim:AdhocQuery id="{escape_attribute(request.query_id)}"{home}>'
    for name, clauses in request.parameters.items():
        for values in clauses:
            yield _slot(name, values)
    yield "</rim:AdhocQuery></query:AdhocQueryRequest>"


def _slot(name: str, values: Sequence[str]) -> str:
    listed = "".join(f"<rim:Value>{escape(value)}</rim:Value>" for value in values)
    return f'<rim:Slot name="{escape_attribute(name)}"><rim:ValueList>{listed}</rim:ValueList></rim:Slot>'


def decode_request(body: Element, _: Attachments) -> StoredQueryRequest:
    """Decode `query:AdhocQueryRequest`.

    Raises
    ------
    SenderFault
        AdhocQuery, its id or the name of a Slot is absent.
    """
    adhoc_query = child(body, "rim:AdhocQuery")
    option = body.find(qname("query:ResponseOption"))
    return_type = None if option is None else option.get("returnType")
    slots = [
        (attribute(slot, "name"), _values(slot))
        for slot in islice(adhoc_query.iterchildren(_SLOT), MAX_SLOTS + 1)
    ]
    refused = None
    try:
        check_numbers(slots)
    except StoredQueryParamNumber as error:
        refused = error
        slots = [
            (name, values)
            for name, values in slots[:_TOLD]
            if len(values) == 1 and len(values[0]) <= MAX_VALUE
        ]
    return StoredQueryRequest(
        query_id="".join(attribute(adhoc_query, "id").split()),
        # RegistryObject is the default of the schema.
        return_type=ReturnType(ReturnType.REGISTRY_OBJECT if return_type is None else return_type.strip()),
        parameters=_parameters(slots),
        home=adhoc_query.get("home", ""),
        octets=b"" if refused else etree.tostring(body, with_tail=False),
        refused=refused,
    )


def _values(slot: Element) -> tuple[str, ...]:
    values = (value for values in slot.iterchildren(_VALUE_LIST) for value in values.iterchildren(_VALUE))
    return tuple(map(text, islice(values, MAX_ALTERNATIVES + 1)))


def _parameters(slots: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, Clauses]:
    clauses: dict[str, list[tuple[str, ...]]] = {}
    for name, values in slots:
        if values:
            clauses.setdefault(name, []).append(values)
    return {name: tuple(listed) for name, listed in clauses.items()}


# --- response ----------------------------------------------------------------------------------------

_HEAD = (
    f'<query:AdhocQueryResponse xmlns:query="{NS["query"]}" xmlns:rim="{NS["rim"]}" xmlns:rs="{RS}" status="'
).encode()


def encode_response(response: StoredQueryResponse) -> MtomBody:
    """Encode `query:AdhocQueryResponse`; the RegistryObjectList is there even when it is empty (schema)."""
    return MtomBody(
        b"".join(
            (
                _HEAD,
                response.status.encode(),
                b'">',
                encode_error_list(response.errors, Actor.REGISTRY),
                b"<rim:RegistryObjectList>",
                *response.fragments,
                b"</rim:RegistryObjectList></query:AdhocQueryResponse>",
            )
        )
    )


def decode_response(element: Element, _: Attachments) -> StoredQueryResponse:
    """Decode `query:AdhocQueryResponse`; an absent RegistryObjectList is read as an empty one.

    Raises
    ------
    SenderFault
        The status is absent.
    """
    listed = element.find(qname("rim:RegistryObjectList"))
    errors = decode_error_list(element)
    return StoredQueryResponse(
        objects=NOTHING if listed is None else decode_objects(listed),
        errors=unexplained(errors, decode_status(element, errors), "XDSRegistryError"),
    )


ITI18: SoapTransaction[StoredQueryRequest, StoredQueryResponse] = SoapTransaction(
    number="ITI-18",
    name="Registry Stored Query",
    action="urn:ihe:iti:2007:RegistryStoredQuery",
    response_action="urn:ihe:iti:2007:RegistryStoredQueryResponse",
    body_root=qname("query:AdhocQueryRequest"),
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=encode_response,
    decode_response=decode_response,
    failure=failure,
)
