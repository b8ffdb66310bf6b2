"""What one request of the imaging source works with, and who may have which instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from imaging_source.archives.archives import Archives, Comparison
from imaging_source.domain import publishing
from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.instance import StudyHeader
from imaging_source.domain.listing import ListedInstance
from imaging_source.peers.registrations import RegistryView
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.instances import InstanceStore
from imaging_source.store.integrity import Damages
from imaging_source.store.publications import PublishedStudy, find_published_studies
from imaging_source.store.rejections import KeyObjects
from shared.alike import alike
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Action, Consent, Decision, Resource
from shared.http.checked import StoreUnavailable
from shared.http.client import ourselves
from shared.imaging.holding import Access, TranscoderView
from shared.imaging.instance import Instance
from shared.perform import UnitOfWork
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller, Node
from shared.soap.client import SoapClient
from shared.store.engine import Database

NOBODY = Decision(False, "the patient of the study is not known in the affinity domain")
_NO_ACCESS = Access("", NOBODY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the service is made of; one for the life of the process.

    `node` is ourselves, and `http` what the repository is called by, which knows where that sees us.
    """

    settings: ImagingSourceSettings
    database: Database
    instances: InstanceStore
    key_objects: KeyObjects
    transcoder: TranscoderView
    consent: Consent
    recorder: AuditRecorder
    authenticator: Authenticator
    repository: SoapClient
    registry: RegistryView
    node: Node
    http: httpx2.AsyncClient | None = None
    damages: Damages = field(default_factory=Damages)
    archives: Archives = field(default_factory=Archives)

    @property
    def dicomweb_url(self) -> str:
        """The URL of our DICOM web services."""
        return self.settings.dicomweb_url

    def as_client(self, url: str = "") -> Caller:
        """Ourselves, as the service at `url` sees us; the repository without."""
        url = url or self.settings.repository_url
        return Caller(node=ourselves(self.node, self.http, url), endpoint=url)


def _nobody() -> None:
    """Nobody sleeps."""


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """The work of one request; `wake` lets the publisher look at once at what waits."""

    wake: Callable[[], None] = _nobody

    async def decide(
        self, resources: Sequence[Resource], action: Action = Action.RETRIEVE
    ) -> Sequence[Decision]:
        """Whether consent lets the caller do this with each of `resources`."""
        return await self.parts.consent.decide(self.caller, action, tuple(resources))

    async def access(
        self, instances: Sequence[Instance | ListedInstance], action: Action = Action.RETRIEVE
    ) -> Mapping[str, Access]:
        """Decide for each of `instances`, by SOP Instance UID, whether the caller may do this with it.

        The patient is the one for whom the study is published, as far as the instance names the same Patient
        ID, and else the one of the instance, where the department's ids are those of the affinity domain.
        """
        of_patients = alike(instances, "study_instance_uid", "patient_id", "issuer_of_patient_id")
        firsts = [ones[0] for ones in of_patients]
        studies = sorted({one.study_instance_uid for one in firsts})
        published = await find_published_studies(self.parts.database, studies)
        resources = [self._resource(one, published.get(one.study_instance_uid)) for one in firsts]
        distinct = tuple(dict.fromkeys(filter(None, resources)))
        answers = await self.decide(distinct, action) if distinct else ()
        decisions = dict(zip(distinct, answers, strict=True))
        access: dict[str, Access] = {}
        for ones, resource in zip(of_patients, resources, strict=True):
            answer = _NO_ACCESS if resource is None else Access(resource.patient_id, decisions[resource])
            access |= dict.fromkeys([one.sop_instance_uid for one in ones], answer)
        return access

    def _resource(
        self, instance: Instance | ListedInstance, published: PublishedStudy | None
    ) -> Resource | None:
        if published is not None and published.department_patient_id == instance.patient_id:
            return Resource(
                patient_id=published.patient_id,
                document_unique_id=published.document_unique_id,
                confidentiality=published.confidentiality,
                class_code=published.class_code,
                type_code=published.type_code,
            )
        return self._unpublished(instance)

    def _unpublished(self, instance: Instance | ListedInstance) -> Resource | None:
        settings = self.parts.settings
        try:
            patient_id = publishing.patient_id(
                _header(instance),
                settings.publishing.issuers(settings.affinity_domain),
                settings.affinity_domain,
            )
        except NotPublishable:
            return None
        coding = settings.publishing.coding
        return Resource(
            patient_id=patient_id,
            confidentiality=frozenset(map(str, coding.confidentiality)),
            class_code=str(coding.class_code),
            type_code=str(coding.type_code),
            ids=frozenset({instance.study_instance_uid}),
        )

    async def compare(self, study_instance_uid: str, action: Action = Action.RETRIEVE) -> Comparison:
        """Make known here what archives have of a study, if the caller may do this with it."""

        async def admits(listed: Sequence[ListedInstance]) -> bool:
            access = await self.access(listed, action)
            return any(one.decision.permitted for one in access.values())

        return await self.parts.archives.compare(study_instance_uid, admits)

    async def unreadable(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        """Why the bytes of some of `instances` cannot be given, by UID; damage is told of in the trail."""
        away = await self.parts.archives.bring(instances)
        present = [one for one in instances if one.sop_instance_uid not in away] if away else instances
        return {**away, **await self._damaged(present)}

    async def _damaged(self, instances: Sequence[Instance]) -> Mapping[str, str]:
        damages = self.parts.damages
        try:
            damaged = await self.parts.instances.files.damaged(instances)
        except StoreUnavailable:
            away = "the object store does not answer; ask again later"
            return {instance.sop_instance_uid: away for instance in instances}
        uids = {instance.sop_instance_uid for instance in damaged}
        if damages:
            for instance in instances:
                if instance.sop_instance_uid not in uids:
                    damages.forget(instance.sha256)
        if damaged:
            await damages.tell(damaged, self.parts.recorder)
        return dict.fromkeys(uids, "the stored file is lost or damaged")

    async def hidden(self, instances: Sequence[Instance]) -> frozenset[str]:
        """What of `instances` is rejected or set aside, and the notes that reject, by UID."""
        return await self.parts.key_objects.hidden(instances) if instances else frozenset()


def _header(instance: Instance | ListedInstance) -> StudyHeader:
    return StudyHeader(
        study_instance_uid=instance.study_instance_uid,
        patient_id=instance.patient_id,
        issuer_of_patient_id=instance.issuer_of_patient_id,
    )
