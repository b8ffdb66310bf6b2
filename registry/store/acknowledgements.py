"""Registered consent documents (BPPC): their metadata say which policies a patient acknowledged."""

from __future__ import annotations

from collections.abc import Iterable

from shared.consent.documents import bppc
from shared.consent.documents.bppc import Meanings
from shared.consent.documents.translation import NotTranslatable, Translation
from shared.consent.policy import Policy
from shared.ebrim.model import AvailabilityStatus, DocumentEntry
from shared.errors import MetadataError


def acknowledgements(objects: Iterable[object]) -> list[DocumentEntry]:
    """The consent documents among registry objects."""
    return [
        each
        for each in objects
        if isinstance(each, DocumentEntry) and each.format_code.value in bppc.FORMAT_CODES
    ]


def acknowledged(entry: DocumentEntry, patient_id: str, meanings: Meanings) -> tuple[Policy, ...]:
    """The policies of a patient that are in force by an entry; none of one that is not Approved.

    Raises
    ------
    MetadataError
        The entry acknowledges what is no policy of the domain, or says not since when.
    """
    if entry.availability_status is not AvailabilityStatus.APPROVED:
        return ()
    try:
        fields = bppc.of_metadata(
            entry.event_codes, entry.service_start_time, entry.service_stop_time, meanings
        )
        return Translation("", "", fields).made(patient_id=patient_id, source=entry.entry_uuid)
    except NotTranslatable as error:
        raise MetadataError(f"consent {entry.unique_id}: {error}", location=entry.unique_id) from None
