"""Consent documents among what is registered: what they say, or why the submission is refused.

What is understood is in force as long as its entry is Approved. What is not is refused, so that no patient
believes in a consent by which nobody decides; what is a consent by its class alone, or of a form for which
nothing is configured, is a document like others, and the answer says that it has no effect.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from registry.domain.patients import canonical
from registry.unit import Parts
from shared.consent.documents import bppc
from shared.consent.documents.bppc import Meanings
from shared.consent.documents.forms import (
    NEEDS_RIGHT,
    ConsentForm,
    content_of,
    form_of,
    is_of_class,
    translated,
    without_content,
)
from shared.consent.documents.translation import NotTranslatable, Translation
from shared.consent.policy import Policy
from shared.ebrim.identifiers import CX
from shared.ebrim.model import AvailabilityStatus, DocumentEntry, Submission
from shared.errors import ConsentWithoutEffect, MetadataError, Rejected, XdsError

#: Stands for the entryUUID until that is known.
_SOURCE: Final = "urn:uuid:00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Domain:
    """What the affinity domain says of consents: its OID, what its policies mean, whose NameIDs are known."""

    oid: str
    meanings: Meanings
    issuers: tuple[str, ...] = ()

    @classmethod
    def of(cls, parts: Parts) -> Self:
        """As the settings say."""
        settings = parts.settings
        return cls(settings.affinity_domain, parts.meanings, tuple(settings.assertion.issuers))


@dataclass(frozen=True, slots=True)
class Consents:
    """The policies of consent documents by their uniqueId, and what has no effect."""

    policies: Mapping[str, tuple[Policy, ...]]
    warnings: tuple[XdsError, ...] = ()


def bare(submission: Submission) -> Submission:
    """`submission` as it is registered: without the contents of its consents."""
    entries = submission.document_entries
    if not any(entry.extra_slots for entry in entries):
        return submission
    return replace(submission, document_entries=tuple(map(without_content, entries)))


def has_consents(entries: Iterable[DocumentEntry]) -> bool:
    """Whether some of `entries` are, or say that they are, consents."""
    return any(form_of(entry) or is_of_class(entry) for entry in entries)


def read(entries: Sequence[DocumentEntry], domain: Domain, *, may_submit: bool) -> Consents:
    """What the consents among the entries of a submission say; may take long for a large one.

    Raises
    ------
    Rejected
        One is not understood, or comes from a node that may not submit it.
    """
    policies: dict[str, tuple[Policy, ...]] = {}
    errors: list[XdsError] = []
    for entry in entries:
        form = form_of(entry)
        if form is None or (form is ConsentForm.BPPC and not domain.meanings):
            continue
        try:
            if not may_submit:
                raise NotTranslatable(NEEDS_RIGHT)
            policies[entry.unique_id] = _policies(form, entry, domain)
        except NotTranslatable as error:
            errors.append(refused(entry, error))
    if errors:
        raise Rejected(*errors)
    without = [entry for entry in entries if is_consent(entry) and entry.unique_id not in policies]
    return Consents(policies, tuple(map(_without_effect, without)))


def is_consent(entry: DocumentEntry) -> bool:
    """Whether an entry is, or says that it is, a consent."""
    return form_of(entry) is not None or is_of_class(entry)


def updated(entry: DocumentEntry, patient_id: str, domain: Domain) -> tuple[Policy, ...]:
    """The policies of a consent whose metadata were changed (ITI-57, ITI-92): none when it is Approved no
    more.

    Raises
    ------
    MetadataError
        It would be in force by what is not understood, or by a content that is not at hand.
    """
    form = form_of(entry)
    if entry.availability_status is not AvailabilityStatus.APPROVED or form is None:
        return ()
    if form is not ConsentForm.BPPC:
        raise refused(entry, NotTranslatable("its metadata are not changed; replace the document (RPLC)"))
    if not domain.meanings:
        return ()
    try:
        return _by_metadata(entry, domain).made(patient_id=patient_id, **_told(entry))
    except NotTranslatable as error:
        raise refused(entry, error) from None


def refused(entry: DocumentEntry, error: NotTranslatable) -> MetadataError:
    """Why a consent is not registered."""
    return MetadataError(f"consent {entry.unique_id}: {error}", location=entry.entry_uuid)


def _policies(form: ConsentForm, entry: DocumentEntry, domain: Domain) -> tuple[Policy, ...]:
    patient_id = canonical(entry.patient_id, domain.oid)
    if patient_id is None:
        raise NotTranslatable(f"the patient is none of the affinity domain {domain.oid}")
    translation = (
        _by_metadata(entry, domain) if form is ConsentForm.BPPC else _by_content(form, entry, domain)
    )
    if translation.patient_root and patient_id != _cx(translation):
        raise NotTranslatable("the document names another patient than its metadata")
    return translation.made(patient_id=patient_id, **_told(entry))


def _told(entry: DocumentEntry) -> dict[str, str]:
    return {"source": _SOURCE, "description": f"consent document {entry.unique_id}"}


def _cx(translation: Translation) -> str:
    return str(CX(translation.patient_extension, translation.patient_root))


def _by_metadata(entry: DocumentEntry, domain: Domain) -> Translation:
    fields = bppc.of_metadata(
        entry.event_codes, entry.service_start_time, entry.service_stop_time, domain.meanings
    )
    return Translation("", "", fields)


def _by_content(form: ConsentForm, entry: DocumentEntry, domain: Domain) -> Translation:
    content = content_of(entry)
    if content is None:
        raise NotTranslatable(
            f"what a document of {form} says stands in its content, which did not come with its metadata; "
            "provide it to a repository of this community (ITI-41), or give it to POST /consent/documents"
        )
    if hashlib.sha1(content, usedforsecurity=False).hexdigest() != entry.hash.lower():
        raise NotTranslatable("the content that came is not that of the hash")
    return translated(form, content, domain.meanings, issuers=domain.issuers)


def _without_effect(entry: DocumentEntry) -> XdsError:
    form = form_of(entry)
    why = (
        "what the policies of BPPC mean is not configured here (XDSI_ACKNOWLEDGED_POLICIES)"
        if form is ConsentForm.BPPC
        else "its formatCode is none of BPPC, APPC or FHIR Consent"
    )
    return ConsentWithoutEffect(
        f"consent {entry.unique_id}: kept as a document, and nobody decides by it: {why}",
        location=entry.entry_uuid,
    )
