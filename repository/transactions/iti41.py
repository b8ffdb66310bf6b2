"""Provide and Register Document Set-b [ITI-41]: expected actions (ITI TF-2 3.41.4.1.3). On the wire, RAD-68
is the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import uuid4

from repository.domain.provision import (
    ContentDigest,
    Provision,
    ProvisionState,
    check,
    completed,
    digest_of,
    registration_message_id,
)
from repository.store import documents
from repository.transactions import consent_documents, registration
from repository.unit import Unit
from shared.attempts import to_its_end
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.codec import encode_submission
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import Submission
from shared.errors import Rejected
from shared.messages.iti41 import ITI41, RAD68, ProvideAndRegisterRequest
from shared.messages.registry import RegistryResponse
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.mtom import Content, Received
from shared.soap.served import Served
from shared.store.engine import Transaction

# In the XDS-I option a manifest is told by its format code; its record names RAD-68 beside ITI-41.
_MANIFEST_FORMAT = "1.2.840.10008.5.1.4.1.1.88.59"


async def handle(unit: Unit, request: ProvideAndRegisterRequest) -> RegistryResponse:
    """Keep the documents, register them, and answer what the registry answered.

    Raises
    ------
    Rejected
        Metadata and documents do not fit together, or a uniqueId is stored with other bytes; nothing was
        kept.
    OutOfResources
        The documents cannot be stored.
    """
    submission = request.decoded.submission
    if submission is None or request.decoded.errors:
        raise Rejected(*request.decoded.errors)
    received = {
        document.id: await _received(unit, document.content)
        for document in request.documents
        if document.content is not None
    }
    missing = {document.id: None for document in request.documents if document.content is None}
    check(
        submission,
        missing | {name: _bytes(content) for name, content in received.items()},
        times=Counter(document.id for document in request.documents),
    )
    response = await _provide(unit, request, submission, received)
    # What decoding dropped cannot be warned of by a registry that never saw it (ITI TF-3 4.2.3.1.6).
    return replace(response, errors=(*response.errors, *request.decoded.warnings))


async def _received(unit: Unit, content: Content) -> Received:
    """The document as a spooled file; one of no bytes comes without."""
    if isinstance(content, Received):
        return content
    if isinstance(content, bytes):
        return await unit.parts.blobs.spool(content)
    raise TypeError("a received document is a spooled file or bytes")


async def _provide(
    unit: Unit,
    request: ProvideAndRegisterRequest,
    submission: Submission,
    received: dict[str, Received],
) -> RegistryResponse:
    settings = unit.parts.settings
    provided = {name: _bytes(content) for name, content in received.items()}
    submission = completed(submission, provided, repository_unique_id=settings.repository_unique_id)
    submission = await consent_documents.told(unit, submission, received)
    registry_objects = encode_submission(submission)
    digest = digest_of(registry_objects, provided)
    success = audit(request, None, unit.caller, Outcome.SUCCESS)
    if unit.caller.message_id:
        before = await documents.find_provision(
            unit.parts.database, message_id=unit.caller.message_id, digest=digest
        )
        if before is not None:
            return await _again(unit, before, success)

    types = {entry.entry_uuid: entry.mime_type for entry in submission.document_entries}
    for name, content in received.items():
        await unit.parts.blobs.keep(content, mime_type=types[name])
    message_id = unit.caller.message_id or new_uuid()
    provision = Provision(
        provision_id=str(uuid4()),
        message_id=message_id,
        digest=digest,
        registration_message_id=registration_message_id(settings.repository_unique_id, message_id, digest),
        registration=registry_objects,
    )
    pairs = [(entry, provided[entry.entry_uuid]) for entry in submission.document_entries]

    async def begin(transaction: Transaction) -> Provision:
        await documents.insert_provision(transaction, provision, pairs)
        return provision

    async def begun(transaction: Transaction) -> Provision | None:
        return await documents.provision_of(transaction, provision.provision_id)

    async def provide() -> RegistryResponse:
        await unit.write(begin, done=begun)
        registered = await registration.register(
            unit, provision, submission=submission, first=True, events=success
        )
        return registered.response

    # Once the provision is committed its outcome must be recorded, even if the provider hangs up.
    return await to_its_end(provide())


async def _again(unit: Unit, before: Provision, success: tuple[AuditEvent, ...]) -> RegistryResponse:
    """A retry of a message that came before gets the answer of that message."""
    if before.state in (ProvisionState.REGISTERED, ProvisionState.REFUSED):
        return registration.stored_answer(before)
    return (await registration.register(unit, before, events=success)).response


def _bytes(received: Received) -> ContentDigest:
    return ContentDigest(sha1=received.sha1, sha256=received.sha256, size=received.size)


def audit(
    request: ProvideAndRegisterRequest,
    response: RegistryResponse | None,
    caller: Caller,
    outcome: Outcome,
) -> tuple[AuditEvent, ...]:
    """Describe the import as ITI TF-2 3.41.5.1.2 asks, whether it succeeded or not."""
    submission = request.decoded.submission
    entries = submission.document_entries if submission else ()
    is_manifest = any(entry.format_code.value == _MANIFEST_FORMAT for entry in entries)
    return (
        patterns.submission(
            ITI41.event_type,
            Side.SERVER,
            caller,
            outcome,
            submission,
            also=RAD68.event_type if is_manifest else None,
        ),
    )


SERVED = Served(ITI41, handle, audit, Speaker.NODE)
