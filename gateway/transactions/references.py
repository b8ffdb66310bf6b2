"""What is asked for by one retrieval: documents, or instances with their series (ITI TF-2 3.43.4.1; RAD TF-2
4.69.4.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, groupby
from operator import attrgetter
from typing import NamedTuple

from shared.messages.documents import DocumentRequest

_place_of = attrgetter("home_community_id", "repository_unique_id")


class RequestedDocuments(NamedTuple):
    """Documents that are asked for together: the instances of one series, or documents, which have none."""

    documents: tuple[DocumentRequest, ...]
    study_instance_uid: str = ""
    series_instance_uid: str = ""


def documents_of(requests: Iterable[RequestedDocuments]) -> Iterator[DocumentRequest]:
    """The documents of `requests`, in order."""
    return chain.from_iterable(one.documents for one in requests)


def by_place(
    documents: tuple[DocumentRequest, ...],
) -> Iterator[tuple[tuple[str, str], tuple[DocumentRequest, ...]]]:
    """Neighbours that are at one place: its homeCommunityId and repositoryUniqueId, and the documents."""
    # Mostly all are at one, and they are hundreds.
    if len(places := set(map(_place_of, documents))) == 1:
        yield places.pop(), documents
        return
    for place, neighbours in groupby(documents, key=_place_of):
        yield place, tuple(neighbours)


def each_once(requests: Iterable[RequestedDocuments]) -> tuple[RequestedDocuments, ...]:
    """`requests` with each of their documents once."""
    requests = tuple(requests)
    unique_ids = [one.document_unique_id for one in documents_of(requests)]
    if len(set(unique_ids)) == len(unique_ids):
        return requests
    return tuple(_fresh(requests))


def _fresh(requests: Iterable[RequestedDocuments]) -> Iterator[RequestedDocuments]:
    earlier: set[tuple[DocumentRequest, str, str]] = set()
    for one in requests:
        of_series = one.study_instance_uid, one.series_instance_uid
        documents = tuple(
            document for document in dict.fromkeys(one.documents) if (document, *of_series) not in earlier
        )
        earlier.update((document, *of_series) for document in documents)
        yield one._replace(documents=documents)
