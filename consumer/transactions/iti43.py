"""Retrieve Document Set [ITI-43], initiating side: fetch one document, such as a manifest (ITI TF-2 3.43)."""

from __future__ import annotations

import asyncio
import hashlib

from consumer.unit import Unit
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.model import DocumentEntry
from shared.errors import Rejected, XdsError
from shared.messages.documents import DocumentRequest, RetrievedDocument
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.security.caller import Caller
from shared.soap.mtom import Received

MAX_BYTES = 64 * 1024 * 1024
# The placeholder of Delayed Document Assembly: nothing to compare with (ITI TF-3 4.1.2).
_DELAYED = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


class NotAsRegistered(XdsError):
    """The bytes that came are not those that the entry describes."""


async def retrieve_document(unit: Unit, entry: DocumentEntry) -> bytes:
    """Fetch the document of `entry` into memory, and compare it with the registered hash.

    Raises
    ------
    Rejected
        The repository did not deliver it; with its errors.
    NotAsRegistered
        It is another document, its hash is another one, or it has more than `MAX_BYTES`.
    SoapFault, PeerError
        The repository answered with a fault, or not at all.
    """
    settings = unit.settings
    url = settings.across(entry.home_community_id) or settings.repository_endpoint(entry.repository_unique_id)
    request = DocumentRequest(
        repository_unique_id=entry.repository_unique_id,
        document_unique_id=entry.unique_id,
        home_community_id=entry.home_community_id,
    )
    outcome = Outcome.SERIOUS_FAILURE
    try:
        response = await unit.soap.call(ITI43, url, RetrieveDocumentSetRequest(documents=(request,)))
        if response.documents:
            outcome = Outcome.SUCCESS
    finally:
        await unit.record(audit(unit.caller(url), request, entry.patient_id, outcome))
    if not response.documents:
        raise Rejected(*response.errors)
    return await asyncio.to_thread(_checked, entry, response.documents[0])


def _checked(entry: DocumentEntry, document: RetrievedDocument) -> bytes:
    octets = _octets(entry, document.content)
    if document.document_unique_id != entry.unique_id:
        raise NotAsRegistered(
            f"document {document.document_unique_id} came in place of {entry.unique_id}",
            location=entry.unique_id,
        )
    digest = hashlib.sha1(octets, usedforsecurity=False).hexdigest()
    if entry.hash and entry.hash.lower() not in (digest, _DELAYED):
        raise NotAsRegistered(
            f"document {entry.unique_id} came with hash {digest}, registered is {entry.hash}",
            location=entry.unique_id,
        )
    return octets


def _octets(entry: DocumentEntry, content: object) -> bytes:
    if isinstance(content, bytes):
        return content
    if not isinstance(content, Received):
        raise NotAsRegistered(f"document {entry.unique_id} is not in the message", location=entry.unique_id)
    try:
        if content.size > MAX_BYTES:
            raise NotAsRegistered(
                f"document {entry.unique_id} has {content.size} bytes; a manifest has at most {MAX_BYTES}",
                location=entry.unique_id,
            )
        return content.path.read_bytes()
    finally:
        content.path.unlink(missing_ok=True)


def audit(caller: Caller, request: DocumentRequest, patient_id: str, outcome: Outcome) -> AuditEvent:
    """Describe the import from the consumer's side (ITI TF-2 3.43.5.1.1)."""
    return patterns.documents(
        ITI43.event_type, Side.CLIENT, caller, outcome, (request,), patient_id=patient_id
    )
