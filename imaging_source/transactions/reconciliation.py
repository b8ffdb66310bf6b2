"""The outbox and the registry agree again: what is registered is asked for, and noted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from imaging_source.domain import reconciliation
from imaging_source.domain.reconciliation import Step, SubmittedManifest, in_order
from imaging_source.store.outbox import LeasedPublication
from imaging_source.store.publications import (
    PublicationError,
    PublicationState,
    PublicationStatus,
    find_publications,
)
from imaging_source.store.reconciliation import Move, note_registered
from imaging_source.unit import Parts
from shared.messages.registrations import MAX_UNIQUE_IDS, RegisteredDocument, Registrations

_REGISTERED = (PublicationState.PUBLISHED,)


async def learn(parts: Parts, study_instance_uid: str) -> list[PublicationStatus]:
    """Note what others did to what we registered of a study, and return what is registered of it now.

    Raises
    ------
    RegistryAway
        The registry cannot be asked now.
    """
    published = await _published(parts, study_instance_uid)
    if published:
        unique_ids = [each.document_unique_id for each in published]
        registrations = await parts.registry.find(published[-1].patient_id, unique_ids)
        await _note(parts, study_instance_uid, published, registrations)
    return await _published(parts, study_instance_uid)


async def next_step(parts: Parts, leased: LeasedPublication, errors: Sequence[PublicationError] = ()) -> Step:
    """What is to be done about a publication that was refused with `errors`, or is about to be sent.

    Raises
    ------
    RegistryAway
        The registry cannot be asked now.
    """
    published = await _published(parts, leased.study_instance_uid)
    unique_ids = [*(each.document_unique_id for each in published), leased.document_unique_id]
    registrations = await parts.registry.find(leased.patient_id, unique_ids)
    registrations = replace(registrations, documents=in_order(registrations.documents, unique_ids))
    await _note(parts, leased.study_instance_uid, published, registrations)
    submitted = SubmittedManifest(
        document_unique_id=leased.document_unique_id,
        patient_id=leased.patient_id,
        replaces=leased.replaces,
        codes=frozenset(error.code for error in errors),
    )
    return reconciliation.next_step(
        submitted, registrations, {each.document_unique_id: each.patient_id for each in published}
    )


async def _published(parts: Parts, study_instance_uid: str) -> list[PublicationStatus]:
    """What is registered as far as is known, the newest last."""
    newest_first = await find_publications(
        parts.database, study_instance_uid=study_instance_uid, states=_REGISTERED, limit=MAX_UNIQUE_IDS - 1
    )
    return newest_first[::-1]


async def _note(
    parts: Parts,
    study_instance_uid: str,
    published: Sequence[PublicationStatus],
    registrations: Registrations,
) -> None:
    approved = {document.unique_id: document for document in registrations.documents if document.approved}
    registered_ids = {document.unique_id for document in registrations.documents}
    await note_registered(
        parts.database,
        study_instance_uid,
        moved=[move for each in published if (move := _move(each, approved))],
        ended={
            each.entry_uuid: PublicationState.WITHDRAWN
            if each is published[-1]
            else PublicationState.REPLACED
            for each in published
            if each.document_unique_id not in approved
            and (registrations.complete or each.document_unique_id in registered_ids)
        },
    )


def _move(each: PublicationStatus, approved: Mapping[str, RegisteredDocument]) -> Move | None:
    document = approved.get(each.document_unique_id)
    if document is None or (document.entry_uuid, document.patient_id) == (each.entry_uuid, each.patient_id):
        return None
    return Move(each.publication_id, document.entry_uuid, document.patient_id)
