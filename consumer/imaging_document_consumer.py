"""The Imaging Document Consumer as a library: find, read a manifest, retrieve (RAD TF-1 18.1).

async with open_consumer(settings, clinician) as consumer:
    for entry in await consumer.find(patient_id):
        manifest = await consumer.manifest(entry)
        result = await consumer.retrieve(
            manifest, folder, patient_id=entry.patient_id, home_community_id=entry.home_community_id
        )
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consumer.domain.clinician import Clinician
from consumer.domain.study import (
    Delivery,
    NoRoad,
    RequestedInstance,
    Via,
    requested_instances,
    requests,
    roads,
    still_missing,
)
from consumer.settings import ConsumerSettings
from consumer.store.files import WrongInstance
from consumer.store.sent_events import SentEvents
from consumer.transactions import iti18, iti43, iti83, rad16, rad55, rad69, rad107
from consumer.unit import Parts, Proof, Unit
from shared.audit.forwarder import Forwarder
from shared.audit.recorder import AuditRecorder, AuditUnavailable
from shared.dicom.kos import Manifest, read_manifest
from shared.ebrim.model import DocumentEntry
from shared.faults import SoapFault
from shared.http.client import EgressRefused
from shared.imaging.manifest_bundle import read_bundle
from shared.security.issuer import LIFETIME_SECONDS, AssertionContent, AssertionIssuer
from shared.settings import SettingsError
from shared.soap.client import PeerError

if TYPE_CHECKING:
    from numpy import ndarray
    from pydicom import Dataset

_SESSIONS = 64
_LARGE = 64 * 1024
_RENEW_SECONDS = 240.0


_BY = {
    Via.RAD69: rad69.retrieve,
    Via.WADO_RS: rad107.retrieve,
    Via.WADO_URI: rad55.retrieve,
    Via.C_MOVE: rad16.retrieve,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """What became of a retrieval: whole instances, those that were whole before, what is missing and why.

    `notes` are what a person should know beside: another road than the one that was asked for, references
    that cannot be followed. `files` are those of all whole instances, in the order of the manifest.
    """

    instances: int
    size: int
    already_there: int
    missing: tuple[Delivery, ...]
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()

    def datasets(self) -> Iterator[Dataset]:
        """Every whole instance for pydicom, read as it is asked for; pixels stay in their file until then."""
        from pydicom import dcmread

        for path in self.files:
            yield dcmread(path, defer_size=_LARGE)

    def arrays(self) -> Iterator[ndarray]:
        """The pixels of every image for numpy, in the order of `files`: decoded, with the modality LUT
        applied, as Hounsfield units are; frames are the first axis. What has no pixels is left out."""
        from pydicom.pixels import apply_modality_lut

        for data_set in self.datasets():
            if "PixelData" in data_set:
                yield apply_modality_lut(data_set.pixel_array, data_set)

    @property
    def complete(self) -> bool:
        """Whether every instance of the manifest that can be followed is in the folder."""
        return not self.missing


class ImagingDocumentConsumer:
    """Works for one user; made by `open_consumer`."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    @property
    def unit(self) -> Unit:
        """With what it works: settings, connections, user, trail."""
        return self._unit

    async def find(self, patient_id: str, **filters: Any) -> tuple[DocumentEntry, ...]:
        """The published manifests of a patient; `filters` and errors are those of `iti18.find_documents`."""
        return await iti18.find_manifests(self._unit, patient_id=patient_id, **filters)

    async def documents(self, patient_id: str, **filters: Any) -> tuple[DocumentEntry, ...]:
        """The documents of a patient, of every kind without `format_codes`; errors are those of
        `iti18.find_documents`."""
        return await iti18.find_documents(self._unit, patient_id=patient_id, **filters)

    async def entry(self, unique_id: str, *, home_community_id: str = "") -> DocumentEntry:
        """The Approved entry of a document, by its uniqueId; errors are those of `iti18.get_document`."""
        return await iti18.get_document(self._unit, unique_id, home_community_id=home_community_id)

    async def local_ids(self, patient_id: str) -> tuple[str, ...]:
        """Who a patient (a CX) is in the own hospital; errors are those of `iti83.local_ids`."""
        return await iti83.local_ids(self._unit, patient_id)

    async def document(self, entry: DocumentEntry) -> bytes:
        """The document of an entry; errors are those of `iti43.retrieve_document`."""
        return await iti43.retrieve_document(self._unit, entry)

    async def manifest(self, entry: DocumentEntry, *, most: int | None = None) -> Manifest:
        """The manifest of an entry, a Key Object Selection Document or a FHIR document Bundle (RAD MADO), of
        at most `most` instances, else `fetch_references`.

        Raises
        ------
        ManifestError
            The document is not a readable manifest, or one of more instances; else as `document`.
        """
        most = most or self._unit.settings.fetch_references
        read = read_bundle if iti18.is_bundle(entry) else read_manifest
        return await asyncio.to_thread(partial(read, most=most), await self.document(entry))

    async def instance(self, one: RequestedInstance, folder: Path, *, via: Via = Via.RAD69) -> Delivery:
        """Retrieve one instance into `folder`; what is wrong with the exchange is raised.

        Raises
        ------
        NoRoad
            The manifest names no place where it could be asked for.
        SoapFault, PeerError, EgressRefused, WrongInstance
            The source refused the message, gave no usable answer, may not be asked, or sent something else.
        """
        retrieve = _BY[self.road(one, via)]
        delivered = [delivery async for delivery in retrieve(self._unit, (one,), folder)]
        if delivered[0].failure is not None:
            raise delivered[0].failure
        return delivered[0]

    def road(self, one: RequestedInstance, preferred: Via = Via.RAD69) -> Via:
        """The transaction by which `one` is asked for first; errors as of `consumer.domain.study.roads`."""
        return self._roads(one, preferred)[0]

    def _roads(self, one: RequestedInstance, preferred: Via) -> tuple[Via, ...]:
        settings = self._unit.settings
        return roads(
            one,
            preferred,
            across=self._far(one),
            wado_uris=settings.wado_uris,
            archives=settings.move_archives,
        )

    def _far(self, one: RequestedInstance) -> bool:
        return self._unit.settings.across(one.home_community_id) is not None

    async def retrieve(
        self,
        manifest: Manifest,
        folder: Path,
        *,
        patient_id: str = "",
        home_community_id: str = "",
        via: Via = Via.RAD69,
        series: Sequence[str] = (),
        on_delivery: Callable[[Delivery], None] = lambda delivery: None,
    ) -> Retrieval:
        """Retrieve every instance of `manifest` into `folder`/study/series/instance.dcm; with `series`, those
        of these Series Instance UIDs.

        Instances that are there already are not asked for again, so an interrupted retrieval is resumed by
        the same call. `on_delivery` is told of each instance as it is whole, or given up. What another
        community has comes by RAD-69 through the gateway, whatever `via` says; and what the manifest names no
        place of for `via` comes by the other transaction, which the notes tell.

        Raises
        ------
        UnsafeManifest
            The manifest holds something that is not a UID.
        """
        everything = requested_instances(manifest, patient_id=patient_id, home_community_id=home_community_id)
        if series:
            everything = tuple(one for one in everything if one.series_instance_uid in series)
        missing = still_missing(everything, folder)
        folder.mkdir(parents=True, exist_ok=True)
        gate = asyncio.Semaphore(self._unit.settings.parallel)
        deliveries: list[Delivery] = []

        async def one(group: Sequence[RequestedInstance]) -> None:
            async with gate:
                async for delivery in self.deliveries(group, folder, via):
                    deliveries.append(delivery)
                    on_delivery(delivery)

        async with asyncio.TaskGroup() as tasks:
            settings = self._unit.settings
            for group in requests(missing, largest=settings.instances_per_request, streams=settings.parallel):
                tasks.create_task(one(group))
        whole = [delivery for delivery in deliveries if not delivery.reason]
        return Retrieval(
            instances=len(whole),
            size=sum(delivery.size for delivery in whole),
            already_there=len(everything) - len(missing),
            missing=tuple(delivery for delivery in deliveries if delivery.reason),
            notes=(*manifest.faults, *self._detours(missing, via), *self._second_roads(whole, via)),
            files=tuple(path for one in everything if (path := folder / one.file_name).is_file()),
        )

    def _second_roads(self, whole: Sequence[Delivery], via: Via) -> Iterator[str]:
        for by in Via:
            others = [one for one in whole if one.by is by and self.road(one.instance, via) is not by]
            if others:
                yield f"{len(others)} instances came by {by.text}: the other road did not bring them"

    def _detours(self, instances: Sequence[RequestedInstance], via: Via) -> Iterator[str]:
        detours: Counter[Via] = Counter()
        for one in instances:
            with suppress(NoRoad):
                if not self._far(one) and (by := self.road(one, via)) is not via:
                    detours[by] += 1
        for by, count in detours.items():
            yield f"{count} instances were asked for by {by.text}: their manifest names no {via.needs}"

    async def deliveries(
        self, group: Sequence[RequestedInstance], folder: Path, via: Via = Via.RAD69
    ) -> AsyncIterator[Delivery]:
        """What of `group`, all of one place, comes into `folder`; then what did not come, with the reason.

        What the first road fails to bring is asked for on the next, where the manifest names one; not what
        the source says that it does not give.
        """
        try:
            passable = self._roads(group[0], via)
        except NoRoad as error:
            for one in group:
                yield Delivery(one, 0, str(error), failure=error)
            return
        failures: dict[str, Delivery] = {}
        remaining = list(group)
        for by in passable:
            async for delivery in self._along(by, remaining, folder):
                if delivery.reason:
                    failures.setdefault(delivery.instance.sop_instance_uid, delivery)
                else:
                    failures.pop(delivery.instance.sop_instance_uid, None)
                    yield replace(delivery, by=by)
            remaining = [one.instance for one in failures.values() if not one.code]
            if not remaining:
                break
        for failure in failures.values():
            yield failure

    async def _along(
        self, by: Via, group: Sequence[RequestedInstance], folder: Path
    ) -> AsyncIterator[Delivery]:
        """What comes by one transaction; when the source fails, what then did not come, with the reason."""
        answered: set[str] = set()
        try:
            async for delivery in _BY[by](self._unit, group, folder):
                answered.add(delivery.instance.sop_instance_uid)
                yield delivery
        except (SoapFault, PeerError, EgressRefused, WrongInstance) as error:
            for one in group:
                if one.sop_instance_uid not in answered:
                    yield Delivery(one, 0, str(error), failure=error)


@asynccontextmanager
async def open_consumer(
    settings: ConsumerSettings,
    clinician: Clinician | None = None,
    *,
    provider: Proof | None = None,
) -> AsyncIterator[ImagingDocumentConsumer]:
    """Open a consumer for `clinician`, or for the node alone; its audit events are on their way at the end.

    `provider` gives the signed assertion for the next request, or an access token, which is exchanged for one
    where the request is SOAP; without it the provider of the settings signs.

    Raises
    ------
    SettingsError
        A user is named and no assertion provider is set up, or TLS files cannot be read.
    """
    session, recorder = _session(settings)
    sent = SentEvents(session.folder)
    await sent.forget_old(recorder.spool)
    forwarder = Forwarder(session, recorder)
    parts = Parts.of(session, recorder)
    proof = provider or _assertions(session, clinician)
    await forwarder.start()
    try:
        user = clinician.as_user(session.assertion.issuer or "") if clinician else None
        yield ImagingDocumentConsumer(parts.unit(user, proof))
    finally:
        await parts.http.aclose()
        await forwarder.stop()
        sent.remember(forwarder.sent_until(recorder.spool))
        await recorder.close()


def _session(settings: ConsumerSettings) -> tuple[ConsumerSettings, AuditRecorder]:
    """Settings with a folder that no other running consumer uses, and the recorder in it."""
    for number in range(_SESSIONS):
        session = settings.model_copy(update={"data": settings.data / "consumers" / str(number)})
        try:
            return session, AuditRecorder(session, session.service)
        except AuditUnavailable:
            continue
    raise SettingsError((f"XDSI_DATA: {_SESSIONS} consumers run on {settings.data}; use another folder",))


def _assertions(settings: ConsumerSettings, clinician: Clinician | None) -> Callable[[], bytes | None]:
    """The assertion for the next request; one is used for some minutes, so that servers need not verify
    each."""
    if clinician is None:
        return lambda: None
    issuer, content = issuer_of(settings), content_of(settings, clinician)
    current: tuple[float, bytes] | None = None

    def assertion() -> bytes:
        nonlocal current
        if current is None or time.monotonic() - current[0] > _RENEW_SECONDS:
            current = (time.monotonic(), issuer.sign(content))
        return current[1]

    return assertion


def issuer_of(settings: ConsumerSettings) -> AssertionIssuer:
    """The assertion provider of the settings.

    Raises
    ------
    SettingsError
        None is set up, or its files cannot be read.
    """
    signer = settings.assertion
    if not (signer.issuer and signer.key and signer.certificate):
        raise SettingsError(
            (
                "XDSI_ASSERTION__ISSUER: needed with __KEY and __CERTIFICATE to speak for a user; "
                "`xdsi certificates` makes a provider for trying out",
            )
        )
    return AssertionIssuer.load(signer.issuer, signer.key, signer.certificate)


def content_of(
    settings: ConsumerSettings, clinician: Clinician, *, lifetime_seconds: float = LIFETIME_SECONDS
) -> AssertionContent:
    """What an assertion says of `clinician` to the services of our community."""
    return AssertionContent(
        name_id=clinician.name_id,
        audience=settings.audience,
        roles=clinician.roles,
        purposes=clinician.purposes,
        organization=clinician.organization,
        organization_ids=clinician.organization_ids,
        home_community_id=settings.home_community_id,
        lifetime_seconds=lifetime_seconds,
    )
