"""Documents in messages: asked for, and delivered (ITI TF-2 3.43.4; RAD TF-2 4.69.4 shares the response)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count, groupby, repeat
from operator import attrgetter
from typing import NamedTuple
from urllib.parse import unquote

from shared.errors import Actor, XdsError
from shared.faults import SenderFault
from shared.messages.bounded import counted
from shared.messages.registry import (
    RS,
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_registry_response,
    has_error,
    unexplained,
)
from shared.soap.folding import JOINT, folded_references, own_reference
from shared.soap.mtom import INCLUDE, Attachment, Content, MtomBody, Received, Relay, include, resolve
from shared.xml import NS, Element, child, elements, escape, escape_each, qname, text

XDS = NS["xds"]
#: Documents that one request may ask for.
MAX_REFERENCES = 1_000

_DOCUMENT = "xds:Document"
_QUALIFIED = {
    f"xds:{name}": qname(f"xds:{name}")
    for name in (
        "HomeCommunityId",
        "RepositoryUniqueId",
        "DocumentUniqueId",
        "NewRepositoryUniqueId",
        "NewDocumentUniqueId",
        "mimeType",
        "Document",
    )
}
_HOME_COMMUNITY_ID = qname("xds:HomeCommunityId")
_REPOSITORY_UNIQUE_ID = qname("xds:RepositoryUniqueId")
_DOCUMENT_UNIQUE_ID = qname("xds:DocumentUniqueId")


class PartReference(NamedTuple):
    """A document whose part has not been read: it follows in the stream, or is missing from the message.

    `content_id` is that of the part, without angle brackets.
    """

    content_id: str


class DocumentRequest(NamedTuple):
    """One document that is asked for; `home_community_id` is empty within one community."""

    repository_unique_id: str
    document_unique_id: str
    home_community_id: str = ""


class RetrievedDocument(NamedTuple):
    """One document that is delivered.

    `mime_type` is the registered one, whatever the part's own type says. The `new_` ids are those of a stable
    document made for an On-Demand one, and otherwise empty. A decoded `content` is a `Received`, or a
    `PartReference` when the parts are streamed.
    """

    repository_unique_id: str
    document_unique_id: str
    mime_type: str
    content: Content | PartReference
    home_community_id: str = ""
    new_repository_unique_id: str = ""
    new_document_unique_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieveDocumentSetResponse:
    """What was found, and one error for each document that was not (ITI TF-2 3.43.4.2.2).

    With a `relay` it brings all the parts, under the names that `part_name` gives to the documents in order.
    """

    documents: tuple[RetrievedDocument, ...] = ()
    errors: tuple[XdsError, ...] = ()
    relay: Relay | None = field(default=None, compare=False, repr=False)

    @property
    def status(self) -> Status:
        """Success without errors, PartialSuccess with documents beside them, Failure without documents."""
        if not self.documents:
            return Status.FAILURE
        return Status.PARTIAL_SUCCESS if has_error(self.errors) else Status.SUCCESS


def failure(errors: Sequence[XdsError]) -> RetrieveDocumentSetResponse:
    """The orderly response that carries `errors` and nothing else."""
    return RetrieveDocumentSetResponse(errors=tuple(errors))


# --- requests ----------------------------------------------------------------------------------------

_PLACE = attrgetter("home_community_id", "repository_unique_id")
# All fields as they stand, without a call of Python for each.
_request_as = partial(tuple.__new__, DocumentRequest)


def encode_document_requests(requests: Iterable[DocumentRequest]) -> str:
    """`xds:DocumentRequest` for each, with the prefix undeclared."""
    return "".join(
        _requests_of_place(home, repository, escape_each([one.document_unique_id for one in there]))
        for (home, repository), there in groupby(requests, key=_PLACE)
    )


def _requests_of_place(home: str, repository: str, unique_ids: Sequence[str]) -> str:
    opens = f"<xds:DocumentRequest>{_place(home, repository)}<xds:DocumentUniqueId>"
    closes = "</xds:DocumentUniqueId></xds:DocumentRequest>"
    # What stands between two ids is the same for all, and a request has hundreds of them.
    return opens + (closes + opens).join(unique_ids) + closes


def _place(home: str, repository: str) -> str:
    return (
        _optional("HomeCommunityId", home)
        + f"<xds:RepositoryUniqueId>{escape(repository)}</xds:RepositoryUniqueId>"
    )


def _optional(name: str, value: str) -> str:
    return f"<xds:{name}>{escape(value)}</xds:{name}>" if value else ""


def decode_document_requests(element: Element) -> list[DocumentRequest]:
    """Read a DocumentRequest, or all those that are folded into one.

    Raises
    ------
    SenderFault
        RepositoryUniqueId or DocumentUniqueId is absent.
    """
    # One pass, from the end so that the first of a name stands; a request has hundreds of these.
    values = {node.tag: text(node) for node in reversed(element)}
    for name in (_REPOSITORY_UNIQUE_ID, _DOCUMENT_UNIQUE_ID):
        if name not in values:
            raise SenderFault(f"DocumentRequest has no xds:{name.rpartition('}')[2]}")
    home, repository = values.get(_HOME_COMMUNITY_ID, ""), values[_REPOSITORY_UNIQUE_ID]
    unique_ids = map(str.strip, values[_DOCUMENT_UNIQUE_ID].split(JOINT))
    return list(map(_request_as, zip(repeat(repository), unique_ids, repeat(home))))


# --- the response ------------------------------------------------------------------------------------


def encode_retrieve_response(response: RetrieveDocumentSetResponse) -> MtomBody:
    """Encode the response with one part for each document, in order."""
    outcome = RegistryResponse(status=response.status, errors=response.errors)
    return MtomBody(
        b"".join(
            (
                f'<xds:RetrieveDocumentSetResponse xmlns:xds="{XDS}" xmlns:rs="{RS}">'.encode(),
                encode_registry_response(outcome, Actor.REPOSITORY),
                "".join(_document_responses(response.documents)).encode(),
                b"</xds:RetrieveDocumentSetResponse>",
            )
        ),
        () if response.relay else _attachments(response.documents),
        response.relay,
    )


def part_name(number: int) -> str:
    """The Content-ID of the document with this number in the response; the first has number 1."""
    return f"document{number}@xdsi"


_OF_A_KIND = attrgetter(
    "home_community_id",
    "repository_unique_id",
    "new_repository_unique_id",
    "new_document_unique_id",
    "mime_type",
)
_CONTENT_OF, _MIME_TYPE_OF = attrgetter("content"), attrgetter("mime_type")
_UNIQUE_ID_OF = attrgetter("document_unique_id")
# All fields as they stand, without a call of Python for each.
_attachment_as = partial(tuple.__new__, Attachment)
_retrieved_as = partial(tuple.__new__, RetrievedDocument)
_reference_as = partial(tuple.__new__, PartReference)
_INCLUDE_OPENS, _, _INCLUDE_CLOSES = include(part_name(0)).rpartition("0")


def _document_responses(documents: Sequence[RetrievedDocument]) -> Iterator[str]:
    numbers = map(str, count(1))
    for (home, repository, *new_ids, mime_type), group in groupby(documents, key=_OF_A_KIND):
        # All that differs between them is written below, and an answer has hundreds.
        opens = f"<xds:DocumentResponse>{_place(home, repository)}<xds:DocumentUniqueId>"
        middle = (
            "</xds:DocumentUniqueId>"
            + "".join(map(_optional, ("NewRepositoryUniqueId", "NewDocumentUniqueId"), new_ids))
            + f"<xds:mimeType>{escape(mime_type)}</xds:mimeType><xds:Document>{_INCLUDE_OPENS}"
        )
        closes = f"{_INCLUDE_CLOSES}</xds:Document></xds:DocumentResponse>"
        unique_ids = escape_each(list(map(_UNIQUE_ID_OF, group)))
        # Ids before numbers: so none of these is lost where those end.
        each = zip(repeat(opens), unique_ids, repeat(middle), numbers, repeat(closes), strict=False)
        yield from chain.from_iterable(each)


def _attachments(documents: Sequence[RetrievedDocument]) -> tuple[Attachment, ...]:
    for document in documents:
        if isinstance(document.content, PartReference):
            raise ValueError(f"the content of {document.document_unique_id} has not been received")
    names = [part_name(number) for number in range(1, len(documents) + 1)]
    each = zip(names, map(_CONTENT_OF, documents), map(_MIME_TYPE_OF, documents), strict=True)
    return tuple(map(_attachment_as, each))


def decode_retrieve_response(
    element: Element, attachments: Mapping[str, Received]
) -> RetrieveDocumentSetResponse:
    """Decode the response; a part that is not in `attachments` becomes a `PartReference`.

    Raises
    ------
    SenderFault
        An element that the schema requires is absent.
    """
    outcome = decode_registry_response(child(element, "rs:RegistryResponse"))
    responses = element.iterfind(qname("xds:DocumentResponse"))
    documents = tuple(chain.from_iterable(_retrieved(response, attachments) for response in responses))
    errors = unexplained(outcome.errors, outcome.status, "XDSRepositoryError")
    return RetrieveDocumentSetResponse(documents=documents, errors=errors)


def _retrieved(response: Element, attachments: Mapping[str, Received]) -> Iterable[RetrievedDocument]:
    """A DocumentResponse, and those that are folded into it."""
    # One pass, from the end so that the first of a name stands; an answer has hundreds of these.
    by_name = {node.tag: node for node in reversed(response)}
    first = RetrievedDocument(
        home_community_id=_text_of(by_name, "xds:HomeCommunityId"),
        repository_unique_id=text(_required(by_name, "xds:RepositoryUniqueId")),
        document_unique_id=text(_required(by_name, "xds:DocumentUniqueId")),
        new_repository_unique_id=_text_of(by_name, "xds:NewRepositoryUniqueId"),
        new_document_unique_id=_text_of(by_name, "xds:NewDocumentUniqueId"),
        mime_type=text(_required(by_name, "xds:mimeType")),
        content=document_content(_required(by_name, _DOCUMENT), attachments),
    )
    unique_ids, content_ids = folded_references(_href(by_name[_QUALIFIED[_DOCUMENT]]))
    each = zip(
        repeat(first.repository_unique_id),
        map(str.strip, unique_ids),
        repeat(first.mime_type),
        _parts(content_ids, attachments),
        repeat(first.home_community_id),
        # Such as have ids of a stable document are not folded.
        repeat(""),
        repeat(""),
        strict=False,
    )
    return first, *map(_retrieved_as, each)


def _parts(
    content_ids: Sequence[str], attachments: Mapping[str, Received]
) -> Iterable[Received | PartReference]:
    """What has these Content-IDs, as they stand in hrefs."""
    if "%" in "".join(content_ids):
        content_ids = tuple(map(unquote, content_ids))
    if not attachments:
        return map(_reference_as, zip(content_ids, strict=True))
    return (attachments.get(one) or PartReference(one) for one in content_ids)


def _required(by_name: Mapping[str, Element], prefixed: str) -> Element:
    element = by_name.get(_QUALIFIED[prefixed])
    if element is None:
        raise SenderFault(f"DocumentResponse has no {prefixed}")
    return element


def _text_of(by_name: Mapping[str, Element], prefixed: str) -> str:
    element = by_name.get(_QUALIFIED[prefixed])
    return "" if element is None else text(element)


def document_content(document: Element, attachments: Mapping[str, Received]) -> Content | PartReference:
    """What a `Document` element holds; an empty element is a document of no bytes.

    Raises
    ------
    SenderFault
        The element holds something else than exactly one `xop:Include`.
    """
    if (content_id := _only_include(document)) is not None:
        return _part(content_id, attachments)
    if next(elements(document), None) is None and not text(document):
        return b""
    received = resolve(document, attachments)
    return PartReference(unquote(_href(document)[len("cid:") :])) if received is None else received


def _part(content_id: str, attachments: Mapping[str, Received]) -> Received | PartReference:
    at_hand = attachments.get(content_id)
    return PartReference(content_id) if at_hand is None else at_hand


def _only_include(document: Element) -> str | None:
    """The Content-ID in an element that holds an `xop:Include` and no blank beside it, as nearly all do."""
    if len(document) != 1 or document.text:
        return None
    (only,) = document
    href = only.get("href", "") if only.tag == INCLUDE and not (only.text or only.tail) else ""
    return unquote(own_reference(href)[len("cid:") :]) if href[: len("cid:")].lower() == "cid:" else None


def _href(document: Element) -> str:
    first = next(elements(document), None)
    return "" if first is None else first.get("href", "")


def document_requests(element: Element) -> tuple[tuple[DocumentRequest, ...], XdsError | None]:
    """The `xds:DocumentRequest` children of `element`, and the error when there are more than a request may
    have.

    Raises
    ------
    SenderFault
        There is none.
    """
    references = chain.from_iterable(
        map(decode_document_requests, element.iterfind(qname("xds:DocumentRequest")))
    )
    requests, refused = counted(references, most=MAX_REFERENCES, what="documents")
    if not requests:
        raise SenderFault("the request names no document; give one DocumentRequest for each")
    return tuple(requests), refused
