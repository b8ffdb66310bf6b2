"""HTTP requests to a repository, as bytes or in pieces: documents provided, and asked for."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from uuid import uuid4

from bench.support.registry_content import TYPES, cx, entry, patient_name, submission_of
from shared.ebrim.model import Submission
from shared.http.pieces import Piece, size
from shared.messages.documents import DocumentRequest
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.soap.envelope import encode_request
from shared.soap.mtom import Content
from shared.soap.package import write_package

SMALL_BYTES = 50_000
PATH = "/xds/repository"
REPOSITORY_ID = "1.3.6.1.4.1.21367.2026.10.20"

_MESSAGE = "urn:uuid:00000000-0000-4000-8000-00000000000f"
_DOCUMENT, _SET = "2.25.1000000000000000000", "2.25.2000000000000000000"
_NUMBERS = itertools.count(1)


def submission(unique_id: str, set_id: str, patient: str) -> Submission:
    """One document in a submission set of its own."""
    document = replace(
        entry(TYPES[0], entry_uuid="Document01", unique_id=unique_id, patient_id=cx(patient)),
        hash="",
        size=None,
        repository_unique_id="",
    )
    return submission_of(document, set_id)


def provision(unique_id: str, set_id: str, message_id: str, content: Content) -> list[Piece]:
    """The HTTP request of an ITI-41, in pieces."""
    request = ProvideAndRegisterRequest.of(
        submission(unique_id, set_id, patient_name(1)), [ProvidedDocument(id="Document01", content=content)]
    )
    body = ITI41.encode_request(request)
    envelope = encode_request(ITI41.action, message_id, f"http://127.0.0.1{PATH}", body.xml, None)
    return _post(*write_package(envelope, body.attachments, action=ITI41.action))


def retrieval(unique_id: str) -> bytes:
    """The HTTP request of an ITI-43."""
    asked = DocumentRequest(repository_unique_id=REPOSITORY_ID, document_unique_id=unique_id)
    body = ITI43.encode_request(RetrieveDocumentSetRequest(documents=(asked,)))
    envelope = encode_request(ITI43.action, _MESSAGE, f"http://127.0.0.1{PATH}", body.xml, None)
    return b"".join(bytes(one) for one in _post(*write_package(envelope, (), action=ITI43.action)))


def _post(content_type: str, pieces: Sequence[Piece]) -> list[Piece]:
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {sum(map(size, pieces))}\r\n\r\n"
    )
    return [head.encode(), *pieces]


def small_provisions(provided: list[str] | None = None) -> Iterator[bytes]:
    """ITI-41 with 50 KB each; ids and bytes never repeat. The uniqueIds go to `provided`."""
    mark = os.urandom(16).hex().encode()
    content = mark + os.urandom(SMALL_BYTES - len(mark))
    made = b"".join(bytes(one) for one in provision(_DOCUMENT, _SET, _MESSAGE, content))
    while True:
        number = f"{next(_NUMBERS):018}"
        if provided is not None:
            provided.append(f"2.25.6{number}")
        yield (
            made.replace(_MESSAGE.encode(), uuid4().urn.encode())
            .replace(_DOCUMENT.encode(), f"2.25.6{number}".encode())
            .replace(_SET.encode(), f"2.25.7{number}".encode())
            .replace(mark, uuid4().hex.encode())
        )
