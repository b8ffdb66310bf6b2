"""Documents that are made when they are asked for (ITI TF-2 3.43.4.1.3): the retrieving side of `iti61`.

Order of work, as for a document that is provided: the bytes are kept, then the row is committed, then the
registry hears of it, then the answer is given. After a crash at any point the next retrieval makes the same
bytes under the same uniqueId again, or finds them.
"""

from __future__ import annotations

import asyncio
from functools import partial

from repository.domain.assembly import Assembly, AssemblyKind, filled_in, is_of
from repository.domain.provision import ContentDigest
from repository.peers.provider import CannotMake, ProviderUnavailable
from repository.store import assemblies, documents
from repository.transactions import iti57, snapshots
from repository.transactions.snapshots import SnapshotOutcome
from repository.unit import Unit
from shared.attempts import to_its_end
from shared.consent.decision import Decision, Resource
from shared.consent.particulars import particulars_of
from shared.ebrim.codec import decode_submission, encode_submission, parse_fragment
from shared.ebrim.identifiers import new_uuid
from shared.ebrim.model import DocumentEntry
from shared.errors import DocumentUniqueIdError, XdsError
from shared.http.checked import DamagedBlob, StoreUnavailable
from shared.messages.documents import DocumentRequest, RetrievedDocument
from shared.messages.on_demand import MadeManifest, ManifestRequest
from shared.soap.mtom import Content
from shared.store.engine import Transaction
from shared.telemetry.log import logger

_log = logger("repository.assembling")

_ATTEMPTS = 3


class Withheld(DocumentUniqueIdError):
    """Consent refuses the document by `decision`: it is answered as one that does not exist."""

    def __init__(self, unique_id: str, decision: Decision) -> None:
        super().__init__(f"document {unique_id} is not available", location=unique_id)
        self.decision = decision


async def assembled(
    unit: Unit, request: DocumentRequest, assembly: Assembly, *, hold_bytes: int
) -> RetrievedDocument:
    """Make the document of `assembly`, which consent lets the caller have, and keep it as its kind wants.

    Raises
    ------
    Withheld
        Consent refuses what was made, which may be described more strictly than when it was registered.
    XdsError
        It cannot be made, kept or registered now.
    """
    new_id, new_repository = "", ""
    if assembly.kind is AssemblyKind.DELAYED:
        manifest = await _made(unit, assembly)
        digest = await _made_once(unit, assembly, manifest)
    elif unit.parts.settings.persist_on_demand:
        manifest, digest, registered = await _made_current(unit, assembly)
        new_repository = request.repository_unique_id if registered else ""
    else:
        manifest = await _made(unit, assembly)
        digest = await _kept(unit, manifest)
    [entry] = manifest.submission.document_entries
    if assembly.kind is AssemblyKind.ON_DEMAND:
        new_id = entry.unique_id
    return RetrievedDocument(
        repository_unique_id=request.repository_unique_id,
        document_unique_id=assembly.unique_id,
        new_repository_unique_id=new_repository,
        new_document_unique_id=new_id,
        mime_type=entry.mime_type,
        content=await _content(unit, assembly, digest, hold_bytes),
        home_community_id=request.home_community_id,
    )


async def _made_current(unit: Unit, assembly: Assembly) -> tuple[MadeManifest, ContentDigest, bool]:
    """The snapshot of now, made again when another one was registered meanwhile; and whether it is
    registered, which it is not when the registry takes no snapshots of the entry any more."""
    for _ in range(_ATTEMPTS):
        before = await snapshots.current(unit, assembly)
        manifest = await _made(unit, assembly)
        digest = await _kept(unit, manifest)
        outcome = await snapshots.registered(unit, assembly, manifest, digest, before)
        if outcome is not SnapshotOutcome.OVERTAKEN:
            return manifest, digest, outcome is SnapshotOutcome.REGISTERED
    raise _not_now(assembly, "its content changes faster than it can be registered; ask again")


async def _made(unit: Unit, assembly: Assembly) -> MadeManifest:
    """What the provider makes now, which consent lets the caller have."""
    request = ManifestRequest(
        study_instance_uid=assembly.study_instance_uid,
        patient_id=assembly.patient_id,
        document_unique_id=assembly.unique_id,
        on_demand=assembly.kind is AssemblyKind.ON_DEMAND,
    )
    try:
        manifest = await unit.parts.provider.make(request)
    except (CannotMake, ProviderUnavailable) as error:
        _log.error("document not made", exc_info=error)
        raise _not_now(assembly, str(error)) from None
    [entry] = manifest.submission.document_entries
    if not is_of(assembly, manifest.submission):
        _log.error("document not made", error="AnotherPatient")
        raise _not_now(assembly, "the study belongs to another patient than when it was registered")
    if (entry.unique_id == assembly.unique_id) is not (assembly.kind is AssemblyKind.DELAYED):
        raise _not_now(assembly, "what was made has not the uniqueId that it must have")
    await _decide(unit, assembly, entry)
    return manifest


def _not_now(assembly: Assembly, why: str) -> XdsError:
    return XdsError(f"document {assembly.unique_id} cannot be made now: {why}", location=assembly.unique_id)


async def _decide(unit: Unit, assembly: Assembly, entry: DocumentEntry) -> None:
    resource = Resource(
        patient_id=entry.patient_id,
        confidentiality=frozenset(map(str, entry.confidentiality_codes)),
        class_code=str(entry.class_code),
        type_code=str(entry.type_code),
        **particulars_of(entry)._asdict(),
    )
    [decision] = await unit.decide((resource,))
    if not decision.permitted:
        raise Withheld(assembly.unique_id, decision)


async def _content(unit: Unit, assembly: Assembly, digest: ContentDigest, hold_bytes: int) -> Content:
    try:
        return await unit.parts.integrity.content(digest.sha256, digest.size, hold_bytes=hold_bytes)
    except (DamagedBlob, StoreUnavailable):
        raise XdsError(f"document {assembly.unique_id} cannot be read", location=assembly.unique_id) from None


async def _kept(unit: Unit, manifest: MadeManifest) -> ContentDigest:
    """The bytes of what was made, durable; what nothing comes to refer to goes after the grace time."""
    blobs = unit.parts.blobs
    received = await blobs.spool(manifest.document)
    try:
        await blobs.keep(received, mime_type=manifest.submission.document_entries[0].mime_type)
    finally:
        await asyncio.to_thread(partial(received.path.unlink, missing_ok=True))
    return ContentDigest(sha1=received.sha1, sha256=received.sha256, size=received.size)


# --- delayed -----------------------------------------------------------------------------------------


async def _made_once(unit: Unit, assembly: Assembly, manifest: MadeManifest) -> ContentDigest:
    """Keep the document for ever, and tell the registry its hash and size; who comes second gets the first's
    bytes."""
    digest = await _kept(unit, manifest)
    [entry] = manifest.submission.document_entries

    async def settle(transaction: Transaction) -> ContentDigest | None:
        await assemblies.hold_assembly(transaction, assembly.unique_id)
        digest_before = await documents.find_bytes(transaction, assembly.unique_id)
        if digest_before is not None:
            return digest_before
        provision = await documents.provision_of(transaction, assembly.provision_id)
        if provision is None or not await assemblies.find_assemblies(transaction, [assembly.unique_id]):
            return None  # removed, or refused by the registry, meanwhile
        registered = decode_submission(parse_fragment(provision.registration)).submission
        if registered is None:
            raise ValueError(f"provision {provision.provision_id} holds no readable submission")
        await documents.insert_late(
            transaction, assembly.provision_id, registered.document_entries[0], digest
        )
        update = encode_submission(filled_in(registered, digest, entry.creation_time))
        await assemblies.set_update(transaction, assembly.unique_id, new_uuid(), update)
        return digest

    async def conclude() -> ContentDigest | None:
        settled = await unit.write(settle)
        if settled is digest:
            await iti57.resolve(unit)
        return settled

    settled = await to_its_end(conclude())
    if settled is None:
        raise XdsError(f"document {assembly.unique_id} is not available", location=assembly.unique_id)
    return settled
