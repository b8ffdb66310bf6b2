"""The manifest of a study as it is now, for the repository that answers for it: On-Demand entries (ITI TF-1
10.2.4) and delayed document assembly."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from imaging_source.domain import manifest, publishing
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.manifest import Identity
from imaging_source.domain.publishing import Names
from imaging_source.store.publications import PublishedStudy, note_described
from imaging_source.transactions import archived, rad68
from imaging_source.unit import Parts
from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.patterns import Side
from shared.ebrim.model import Submission, Timestamp
from shared.imaging.instance import Instance
from shared.messages.on_demand import MadeManifest, ManifestRequest
from shared.security.caller import Caller

MANIFEST_ON_DEMAND = Coded("manifest-on-demand", "xdsi", "Manifest on Demand")

# Takes the place of both UIDs while the content is told from other content.
_NO_UID = "2.25.0"


async def make(parts: Parts, request: ManifestRequest, caller: Caller) -> MadeManifest:
    """Make the manifest of a study and its metadata; audited before it is given away.

    Who may have the study's images is decided from now on by these metadata, unless it is published.

    Raises
    ------
    UnknownStudy, NotPublishable, ArchiveSilent
        As `rad68.publish`.
    """
    await archived.compare_for_us(parts, request.study_instance_uid)
    instances = await rad68.shareable_instances(parts, request.study_instance_uid)
    header = await parts.instances.header(instances)
    made = await asyncio.to_thread(_made, parts, header, instances, request)
    await note_described(parts.database, _study(header, made, request))
    await parts.recorder.record((audit(made, caller, request.study_instance_uid),))
    return made


def _made(
    parts: Parts, header: StudyHeader, instances: Sequence[Instance], request: ManifestRequest
) -> MadeManifest:
    settings = parts.settings
    issuers = settings.publishing.issuers(settings.affinity_domain)
    patient_id = publishing.patient_id(header, issuers, settings.affinity_domain, request.patient_id)

    def described(document_unique_id: str, series_instance_uid: str) -> rad68.ManifestDescription:
        return rad68.described(
            parts,
            header,
            instances,
            Identity(
                sop_instance_uid=document_unique_id,
                series_instance_uid=series_instance_uid,
                created=_created(instances),
            ),
            Names(
                document_unique_id=document_unique_id,
                submission_set_unique_id=manifest.new_uid(settings.publishing.organization_root),
                source_id=settings.source_id,
            ),
            patient_id,
        )

    root = settings.publishing.organization_root
    unnamed = described(_NO_UID, _NO_UID).document
    content = request.document_unique_id.encode() + b"\n" + unnamed
    unique_id = manifest.derived_uid(root, content) if request.on_demand else request.document_unique_id
    made = described(unique_id, manifest.derived_uid(root, b"series\n" + content))
    return MadeManifest(submission=_submitted_now(made), document=made.document)


def _created(instances: Sequence[Instance]) -> datetime:
    """When the content came to be what it is, so that the same content is the same bytes."""
    moments = [instance.received_at for instance in instances]
    return max(moments, default=datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def _submitted_now(made: rad68.ManifestDescription) -> Submission:
    now = Timestamp.of(datetime.now(UTC))
    return replace(
        made.submission, submission_set=replace(made.submission.submission_set, submission_time=now)
    )


def _study(header: StudyHeader, made: MadeManifest, request: ManifestRequest) -> PublishedStudy:
    entry = made.submission.document_entries[0]
    return PublishedStudy(
        study_instance_uid=header.study_instance_uid,
        document_unique_id=request.document_unique_id,
        patient_id=entry.patient_id,
        department_patient_id=header.patient_id,
        confidentiality=frozenset(map(str, entry.confidentiality_codes)),
        class_code=str(entry.class_code),
        type_code=str(entry.type_code),
    )


def audit(made: MadeManifest, caller: Caller, study_instance_uid: str) -> AuditEvent:
    """Describe what was given to the repository; the repository describes to whom it goes (ITI-43)."""
    return patterns.manifest(
        MANIFEST_ON_DEMAND,
        Side.SERVER,
        caller,
        Outcome.SUCCESS,
        study_instance_uid=study_instance_uid,
        patient_id=made.submission.submission_set.patient_id,
    )
