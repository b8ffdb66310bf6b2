"""Consent documents on their way through the repository: who may submit them, and what the registry needs.

A document of BPPC is decided by its metadata and has to say the same as they do. The content of others goes
to the registry with the metadata, which translates it, or refuses the submission.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from repository.unit import Unit
from shared.consent.documents import bppc
from shared.consent.documents.forms import (
    MOST_BYTES,
    NEEDS_RIGHT,
    ConsentForm,
    form_of,
    may_submit,
    with_content,
    without_content,
)
from shared.consent.documents.translation import NotTranslatable
from shared.ebrim.identifiers import CX
from shared.ebrim.model import DocumentEntry, Submission
from shared.errors import MetadataError, Rejected, SubmissionError, XdsError
from shared.settings import ConsentSource
from shared.soap.mtom import Received

#: Of a document of BPPC, with what was scanned.
MOST_SCANNED_BYTES: Final = 16 * 1024 * 1024


async def told(unit: Unit, submission: Submission, received: Mapping[str, Received]) -> Submission:
    """`submission` as our registry takes it: what decides by content has it, and nothing else has.

    A registry of another vendor knows no consents of ours, and gets what came.

    Raises
    ------
    Rejected
        The node may not submit a consent document, or what one says is not what its metadata say.
    """
    if unit.parts.settings.consent.source is not ConsentSource.REGISTRY:
        return submission
    if not any(form_of(entry) or entry.extra_slots for entry in submission.document_entries):
        return submission
    entries: list[DocumentEntry] = []
    errors: list[XdsError] = []
    for entry in submission.document_entries:
        form = form_of(entry)
        if form is None:
            entries.append(without_content(entry))
        elif not may_submit(unit.caller):
            errors.append(SubmissionError(NEEDS_RIGHT, location=entry.entry_uuid))
        else:
            try:
                entries.append(
                    await asyncio.to_thread(_with_consent, form, entry, received[entry.entry_uuid])
                )
            except NotTranslatable as error:
                errors.append(MetadataError(f"consent {entry.unique_id}: {error}", location=entry.entry_uuid))
    if errors:
        raise Rejected(*errors)
    return replace(submission, document_entries=tuple(entries))


def _with_consent(form: ConsentForm, entry: DocumentEntry, document: Received) -> DocumentEntry:
    """The entry of a consent, as our registry takes it; raises `NotTranslatable`. Reads the document."""
    most = MOST_SCANNED_BYTES if form is ConsentForm.BPPC else MOST_BYTES
    if document.size > most:
        raise NotTranslatable(f"it has {document.size} bytes; a consent has at most {most}")
    octets = document.path.read_bytes()
    if form is not ConsentForm.BPPC:
        return with_content(entry, octets)
    try:
        patient = CX.parse(entry.patient_id)
    except ValueError:
        raise NotTranslatable("the patient of its metadata is none") from None
    bppc.check_metadata(
        octets,
        patient=(patient.authority, patient.id),
        event_codes=entry.event_codes,
        begins=entry.service_start_time,
        ends=entry.service_stop_time,
    )
    return without_content(entry)
