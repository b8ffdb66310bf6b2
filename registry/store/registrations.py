"""The entries of documents by uniqueId, for whoever registered them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from registry.domain.submission import ObjectClass
from registry.store.by_patient import OF_PATIENT, fetch_at
from registry.store.identifiers import find_leads
from registry.store.tables import registry_object
from shared.ebrim.model import AvailabilityStatus
from shared.messages.registrations import RegisteredDocument
from shared.store.engine import Reader
from shared.store.statements import in_list

_object = registry_object.c
_ENTRIES = select(_object.unique_id, _object.entry_uuid, _object.patient_id, _object.status).where(
    OF_PATIENT, _object.object_class == str(ObjectClass.DOCUMENT_ENTRY), in_list(_object.unique_id, "ids")
)


async def find_registrations(reader: Reader, unique_ids: Sequence[str]) -> tuple[RegisteredDocument, ...]:
    """Every entry that documents have, of whatever patient, version and status."""
    places = await find_leads(reader, unique_ids)
    return tuple(
        RegisteredDocument(
            unique_id=unique_id,
            entry_uuid=entry_uuid,
            patient_id=patient_id,
            approved=status == str(AvailabilityStatus.APPROVED),
        )
        for unique_id, entry_uuid, patient_id, status in await fetch_at(reader, _ENTRIES, places)
    )
