"""Provide and Register Imaging Document Set [RAD-68]: from a study to a registered manifest (RAD TF-3 4.68).

`publish` makes the manifest and its metadata, freezes both and puts them into the outbox; `provide` sends
what the outbox lends, which on the wire is ITI-41.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from pydicom.dataset import Dataset

from imaging_source.domain import mado_bundle, manifest, publishing
from imaging_source.domain.coding import ManifestForm, NotPublishable
from imaging_source.domain.described_manifest import of_data_set
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.mado import completed
from imaging_source.domain.manifest import Identity, NothingToShare, Place
from imaging_source.domain.publishing import Names
from imaging_source.domain.reconciliation import (
    UNKNOWN_PATIENT,
    AwaitPatient,
    Follow,
    Refusal,
    RegisteredManifest,
    Send,
    Step,
    Withdraw,
)
from imaging_source.domain.selection import shareable
from imaging_source.peers.registrations import RegistryAway
from imaging_source.store import outbox
from imaging_source.store.bundles import find_bundle
from imaging_source.store.drift import note as note_drift
from imaging_source.store.outbox import Enqueued, LeasedPublication
from imaging_source.store.publications import (
    NewBundle,
    NewPublication,
    PublicationError,
    PublicationState,
    find_publications,
    find_published_studies,
)
from imaging_source.transactions import archived, bundles, iti41, reconciliation
from imaging_source.unit import Parts
from shared.audit.events import AuditEvent, Outcome
from shared.ebrim.codec import encode_submission
from shared.ebrim.model import Submission
from shared.imaging.instance import Instance
from shared.messages.registrations import RegisteredDocument
from shared.security.caller import Caller
from shared.telemetry.log import logger

_log = logger(__name__)


MISREAD: Final = (
    "names or titles may be misread: an instance is not in the Specific Character Set that it names, or names"
    " none; look at the manifest, and set default_character_set before such instances are sent"
)

# The registry is not as it was taken to be.
_DRIFTED: Final = frozenset(
    {
        UNKNOWN_PATIENT,
        "XDSPatientIdDoesNotMatch",
        "XDSRegistryDeprecatedDocumentError",
        "UnresolvedReferenceException",
    }
)
# Whose patient the next publication of a study takes, the newest first.
_TELLING: Final = (PublicationState.WITHDRAWN, PublicationState.REFUSED)


class UnknownStudy(LookupError):
    """No instance of the study is here."""


class NothingShareable(NotPublishable):
    """Every instance of the study is rejected or set aside."""


class NotWithdrawn(Exception):
    """A manifest stays registered; the text says why, and what would help."""


# --- publish -----------------------------------------------------------------------------------------


async def publish(parts: Parts, study_instance_uid: str, patient_id: str = "") -> Enqueued:
    """Make the manifest of a study and put it into the outbox; return its publication.

    A study that has not changed since it was published, and is registered still, keeps its publication.

    Parameters
    ----------
    patient_id
        The patient's id in the affinity domain, as CX or without its domain. By default the one for whom the
        study is registered now, or the study's own.

    Raises
    ------
    UnknownStudy
        No instance of the study is here.
    NotPublishable
        Its instances name no patient of the affinity domain; or none of them can be shared, and what was
        published of it is withdrawn.
    ArchiveSilent
        An archive does not give all that it lists of the study.
    """
    await archived.compare_for_us(parts, study_instance_uid)
    try:
        instances = await shareable_instances(parts, study_instance_uid)
    except NothingShareable:
        await withdraw(parts, study_instance_uid)
        raise
    header = await parts.instances.header(instances)
    with suppress(RegistryAway):  # what is not known now is found when the manifest is sent
        await reconciliation.learn(parts, study_instance_uid)
        await bundles.settle(parts, study_instance_uid)
    patient_id = patient_id or await _published_for(parts, header)
    made = await asyncio.to_thread(_publication, parts, header, instances, patient_id)
    if header.misread:
        _log.warning("names or titles of a manifest may be misread", publication=made.publication_id)
    return await outbox.enqueue(parts.database, made)


async def withdraw(parts: Parts, study_instance_uid: str) -> int:
    """Withdraw every manifest of a study from the registry, and let none be sent any more; count those that
    were registered.

    Raises
    ------
    RegistryAway, NotWithdrawn
        The registry cannot be asked now, or refuses; what was withdrawn is.
    """
    certain = await outbox.cancel(parts.database, study_instance_uid)
    registered = await reconciliation.learn(parts, study_instance_uid)
    for each in registered:
        document = RegisteredDocument(
            unique_id=each.document_unique_id,
            entry_uuid=each.entry_uuid,
            patient_id=each.patient_id,
            approved=True,
        )
        if failure := await bundles.withdraw(parts, study_instance_uid, document):
            raise NotWithdrawn(f"{failure.code}: {failure.context}")
    if not certain:
        raise NotWithdrawn(
            "a manifest of the study is being sent, or nobody knows whether it was registered;"
            " withdraw again when its outcome is known"
        )
    await bundles.settle(parts, study_instance_uid)
    await note_drift(parts.database, study_instance_uid, ())
    return len(registered)


async def warnings(parts: Parts, study_instance_uid: str) -> tuple[str, ...]:
    """What a person should look at in the manifest of a study, in sentences."""
    stored = await parts.instances.find_study(study_instance_uid)
    return (MISREAD,) if stored and (await parts.instances.header(stored)).misread else ()


async def shareable_instances(parts: Parts, study_instance_uid: str) -> Sequence[Instance]:
    """The instances of a study that a manifest references; all of one patient.

    Newcomers that are in conflict with the study are left out.

    Raises
    ------
    UnknownStudy, NothingShareable
        No instance of the study is here; none of them can be shared.
    """
    stored = await parts.instances.find_study(study_instance_uid)
    if not stored:
        raise UnknownStudy(f"no instance of study {study_instance_uid} is here; import it first")
    remarks = await parts.key_objects.of_studies([study_instance_uid])
    instances = shareable(stored, remarks.notes, remarks.set_aside)
    if len(set(map(parts.instances.named_patient, instances))) > 1:
        # They came before conflicts were looked for.
        await parts.instances.settle(study_instance_uid)
        return await shareable_instances(parts, study_instance_uid)
    if not instances:
        raise NothingShareable(f"study {study_instance_uid} has no instance that can be shared")
    return instances


async def _published_for(parts: Parts, header: StudyHeader) -> str:
    """The affinity domain's id under which the study of this very patient is published, or was last; or
    empty."""
    uid = header.study_instance_uid
    published = await find_published_studies(parts.database, [uid])
    study = published.get(uid) or next(
        iter(await find_publications(parts.database, study_instance_uid=uid, states=_TELLING, limit=1)), None
    )
    return study.patient_id if study and study.department_patient_id == header.patient_id else ""


@dataclass(frozen=True, slots=True)
class ManifestDescription:
    """A manifest and its metadata."""

    digest: str
    document: bytes
    submission: Submission
    data_set: Dataset


def _publication(
    parts: Parts, header: StudyHeader, instances: Sequence[Instance], identifier: str
) -> NewPublication:
    settings = parts.settings
    issuers = settings.publishing.issuers(settings.affinity_domain)
    patient_id = publishing.patient_id(header, issuers, settings.affinity_domain, identifier)
    root = settings.publishing.organization_root
    identity = Identity(
        sop_instance_uid=manifest.new_uid(root),
        series_instance_uid=manifest.new_uid(root),
        created=datetime.now(UTC).replace(microsecond=0),
    )
    names = Names(
        document_unique_id=identity.sop_instance_uid,
        submission_set_unique_id=manifest.new_uid(root),
        source_id=settings.source_id,
    )
    made = described(parts, header, instances, identity, names, patient_id)
    entry, bundle, submission, digest = (
        made.submission.document_entries[0],
        None,
        made.submission,
        made.digest,
    )
    if settings.publishing.bundle:
        bundle = NewBundle(
            document_unique_id=manifest.new_uid(root),
            document=mado_bundle.encode(of_data_set(made.data_set)),
        )
        submission = publishing.with_bundle(submission, bundle.document, bundle.document_unique_id)
        digest += " with Bundle"
    return NewPublication(
        publication_id=str(uuid4()),
        study_instance_uid=header.study_instance_uid,
        patient_id=patient_id,
        department_patient_id=header.patient_id,
        confidentiality=frozenset(map(str, entry.confidentiality_codes)),
        class_code=str(entry.class_code),
        type_code=str(entry.type_code),
        digest=digest,
        message_id=f"urn:uuid:{uuid4()}",
        entry_uuid=names.entry_uuid,
        replacement_uuid=names.replacement_uuid,
        document_unique_id=names.document_unique_id,
        submission_set_unique_id=names.submission_set_unique_id,
        document=made.document,
        submission=encode_submission(submission),
        bundle=bundle,
    )


def described(
    parts: Parts,
    header: StudyHeader,
    instances: Sequence[Instance],
    identity: Identity,
    names: Names,
    patient_id: str,
) -> ManifestDescription:
    """Make the manifest of `instances`, and its metadata.

    Raises
    ------
    NotPublishable
        None of them can be shared.
    """
    settings = parts.settings
    issuers = settings.publishing.issuers(settings.affinity_domain)
    coding = settings.publishing.coding
    library = None
    if coding.form is ManifestForm.MADO:
        library = coding.body_parts
        arrived = min(one.received_at for one in instances)
        header = completed(header, issuers, settings.publishing.institution, arrived)
    place = Place(
        ae_title=settings.ae_title, location_uid=settings.retrieve_location_uid, url=settings.dicomweb_url
    )
    try:
        dataset = manifest.build(
            header,
            instances,
            identity=identity,
            place=place,
            issuers=issuers,
            zone=settings.publishing.zone,
            library=library,
        )
    except NothingToShare as error:
        raise NotPublishable(str(error)) from None
    document = manifest.encode(dataset)
    submission = publishing.submission(
        header,
        names=names,
        document=document,
        patient_id=patient_id,
        created=identity.created,
        coding=coding,
        issuers=issuers,
        zone=settings.publishing.zone,
    )
    digest = _digest(manifest.digest(dataset), submission)
    return ManifestDescription(digest, document, submission, dataset)


def _digest(content: str, submission: Submission) -> str:
    """Equal when neither the manifest's content nor its description has changed."""
    entry = replace(
        submission.document_entries[0], entry_uuid="", unique_id="", creation_time=None, hash="", size=None
    )
    return hashlib.sha256(f"{content} {entry!r}".encode()).hexdigest()


# --- provide -----------------------------------------------------------------------------------------


async def provide(parts: Parts, leased: LeasedPublication) -> PublicationState:
    """Send a publication and record what became of it, together with its audit event; return its state.

    What is refused because the registry is not as it was taken to be is sent again as it is, or waits until
    its patient is known; a manifest before it that is registered for another patient is withdrawn first.
    """
    state = await _prepared(parts, leased) or await _provided(parts, leased)
    _log.info("publication", publication=leased.publication_id, state=state, attempts=leased.attempts)
    return state


async def _prepared(parts: Parts, leased: LeasedPublication) -> PublicationState | None:
    """What is to be done before anything is sent; None when that can be."""
    awaits_patient = any(error.code == UNKNOWN_PATIENT for error in leased.errors)
    if not (leased.elsewhere or awaits_patient) or leased.in_doubt:
        return None
    try:
        step = await reconciliation.next_step(parts, leased)
    except RegistryAway as error:
        return await _postponed(parts, leased, leased.errors or (_error("unreachable", str(error)),))
    match step:
        case Send(replaces) if replaces == leased.replaces:
            return None
        case Refusal():
            return None
        case _:
            return await _taken(parts, leased, step, leased.errors)


async def _provided(parts: Parts, leased: LeasedPublication) -> PublicationState:
    submission = await asyncio.to_thread(_submission, leased)
    contents = [leased.document]
    if (bundle := await find_bundle(parts.database, leased.publication_id)) is not None:
        contents.append(bundle)
    attempt = await iti41.send(
        parts, submission, contents, message_id=leased.message_id, in_doubt=leased.in_doubt
    )
    step: Step | None = None
    if attempt.state is PublicationState.REFUSED and _may_be_mended(attempt, leased):
        try:
            step = await reconciliation.next_step(parts, leased, attempt.errors)
        except RegistryAway:
            attempt = replace(attempt, state=PublicationState.WAITING, certain=True)
    if isinstance(step, RegisteredManifest):
        attempt = replace(attempt, state=PublicationState.PUBLISHED)
    outcome = Outcome.SUCCESS if attempt.state is PublicationState.PUBLISHED else Outcome.SERIOUS_FAILURE
    events = (audit(leased, submission, parts.as_client(), outcome, attempt.errors),) if attempt.sent else ()
    if step is None or isinstance(step, RegisteredManifest | Refusal):
        return await outbox.conclude(
            parts.database,
            leased,
            attempt.state,
            errors=attempt.errors,
            in_doubt=attempt.in_doubt,
            certain=attempt.certain,
            events=events,
            recorder=parts.recorder,
        )
    await parts.recorder.record(events)
    return await _taken(parts, leased, step, attempt.errors)


def _may_be_mended(attempt: iti41.Attempt, leased: LeasedPublication) -> bool:
    """Whether a refusal may come of the registry being other than we took it to be."""
    codes = {error.code for error in attempt.errors}
    return bool(leased.replaces) or leased.in_doubt or not codes.isdisjoint(_DRIFTED)


async def _taken(
    parts: Parts, leased: LeasedPublication, step: Step, errors: tuple[PublicationError, ...]
) -> PublicationState:
    """Do what the registry's state asks for."""
    match step:
        case Send(replaces):
            await outbox.redirect(parts.database, leased, replaces)
            return PublicationState.WAITING
        case AwaitPatient():
            unknown = tuple(error for error in errors if error.code == UNKNOWN_PATIENT)
            reasons = unknown or (_error(UNKNOWN_PATIENT, "the registry does not know the patient"),)
            return await _postponed(parts, leased, reasons)
        case Follow(patient_id):
            return await _followed(parts, leased, patient_id)
        case Withdraw(documents):
            for document in documents:
                if failure := await bundles.withdraw(parts, leased.study_instance_uid, document):
                    return await _postponed(parts, leased, (failure,))
            await outbox.redirect(parts.database, leased, leased.replaces)
            return PublicationState.WAITING
        case RegisteredManifest():
            return await outbox.conclude(
                parts.database, leased, PublicationState.PUBLISHED, recorder=parts.recorder
            )
        case Refusal():
            return await outbox.conclude(
                parts.database, leased, PublicationState.REFUSED, errors=errors, recorder=parts.recorder
            )


async def _postponed(
    parts: Parts, leased: LeasedPublication, errors: tuple[PublicationError, ...]
) -> PublicationState:
    return await outbox.conclude(
        parts.database, leased, PublicationState.WAITING, errors=errors, certain=True, recorder=parts.recorder
    )


async def _followed(parts: Parts, leased: LeasedPublication, patient_id: str) -> PublicationState:
    """Make the manifest anew for the patient that took the place of the one it was made for."""
    moved = _error("patient-changed", "the patient was merged, or the entry given to another one")
    try:
        instances = await shareable_instances(parts, leased.study_instance_uid)
        header = await parts.instances.header(instances)
        made = await asyncio.to_thread(_publication, parts, header, instances, patient_id)
    except (UnknownStudy, NotPublishable) as error:
        return await outbox.conclude(
            parts.database,
            leased,
            PublicationState.REFUSED,
            errors=(_error("not-publishable", str(error)),),
            recorder=parts.recorder,
        )
    await outbox.succeed(parts.database, leased, made, (moved,))
    return PublicationState.SUPERSEDED


def _error(code: str, context: str) -> PublicationError:
    return PublicationError(code, context)


def _submission(leased: LeasedPublication) -> Submission:
    submitted = iti41.frozen(leased.submission)
    if not leased.replaces:
        return submitted
    return publishing.replacing(submitted, leased.replaces, leased.replacement_uuid)


def audit(
    leased: LeasedPublication,
    submission: Submission,
    caller: Caller,
    outcome: Outcome,
    errors: Sequence[PublicationError] = (),
) -> AuditEvent:
    """Describe the export from the source's side."""
    return iti41.audit(submission, leased.study_instance_uid, caller, outcome, errors)
