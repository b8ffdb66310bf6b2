"""Both encodings of a manifest stay true: a Bundle is registered as long as its manifest, for its patient."""

from __future__ import annotations

from imaging_source.peers.registrations import RegistryAway
from imaging_source.store import bundles
from imaging_source.store.bundles import PublishedBundle
from imaging_source.store.publications import PublicationError, PublicationState
from imaging_source.transactions import iti57
from imaging_source.unit import Parts
from shared.messages.registrations import MAX_UNIQUE_IDS, RegisteredDocument, Registrations

# What may be registered without its being known yet.
_OPEN = frozenset({PublicationState.WAITING, PublicationState.ABANDONED})


async def withdraw(
    parts: Parts, study_instance_uid: str, document: RegisteredDocument
) -> PublicationError | None:
    """Withdraw a manifest, and its Bundle before it; returns why it is not, when it is not."""
    of_manifest = [
        one
        for one in await bundles.of_study(parts.database, study_instance_uid)
        if one.manifest_unique_id == document.unique_id
    ]
    try:
        registrations = await _registrations(parts, of_manifest, document.patient_id)
    except RegistryAway as error:
        return PublicationError("withdrawal-unanswered", str(error))
    for entry in (*(one for one in registrations.documents if one.approved), document):
        if failure := await iti57.withdraw(parts, study_instance_uid, entry):
            return failure
    return None


async def settle(parts: Parts, study_instance_uid: str) -> bool:
    """Withdraw each Bundle whose manifest is registered no more, or for another patient.

    Returns whether one that should be registered is not: the next manifest will take the place of its own.

    Raises
    ------
    RegistryAway
        The registry cannot be asked now.
    """
    every = await bundles.of_study(parts.database, study_instance_uid)
    registrations = await _registrations(parts, every, every[-1].patient_id if every else "")
    entries = {one.unique_id: one for one in registrations.documents if one.approved}
    told_ids = {one.unique_id for one in registrations.documents}
    missing = False
    for one in every:
        entry = entries.get(one.document_unique_id)
        is_published = one.state is PublicationState.PUBLISHED
        if entry is not None and one.state not in _OPEN and not (is_published and _is_right(one, entry)):
            await iti57.withdraw(parts, study_instance_uid, entry)
        is_known = registrations.complete or one.document_unique_id in told_ids
        if is_published and is_known and not _is_right(one, entry):
            await bundles.renew(parts.database, one.publication_id)
            missing = True
    return missing


def _is_right(one: PublishedBundle, entry: RegisteredDocument | None) -> bool:
    return entry is not None and entry.patient_id == one.patient_id


async def _registrations(parts: Parts, of: list[PublishedBundle], patient_id: str) -> Registrations:
    """What is registered of Bundles; where there are none nobody is asked."""
    unique_ids = [one.document_unique_id for one in of][-MAX_UNIQUE_IDS:]
    if not unique_ids:
        return Registrations(survivor=patient_id, known=None, complete=False)
    return await parts.registry.find(patient_id, unique_ids)
