"""Published manifests and what they speak of agree again: each is looked at, mended, and reported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from imaging_source.domain import drift
from imaging_source.domain.coding import NotPublishable
from imaging_source.domain.drift import Drift
from imaging_source.domain.orders import OrderState
from imaging_source.store.drift import note
from imaging_source.store.orders import find_order
from imaging_source.store.publications import (
    PublicationState,
    PublicationStatus,
    find_document,
    find_publications,
)
from imaging_source.transactions import bundles, rad68, reconciliation
from imaging_source.unit import Parts
from shared.dicom.kos import read_manifest
from shared.telemetry.log import logger

_log = logger(__name__)

#: What tells of a study; what is refused, or was overtaken, leaves it as it was.
_TELLING = (
    PublicationState.PUBLISHED,
    PublicationState.WITHDRAWN,
    PublicationState.WAITING,
    PublicationState.ABANDONED,
)


async def examine(parts: Parts, study_instance_uid: str) -> tuple[Drift, ...]:
    """Compare the manifest of a study with the archive and the registry, mend what can be, and report.

    A study that grows, or whose next manifest is on its way, is left alone.

    Raises
    ------
    RegistryAway
        The registry cannot be asked now.
    NotWithdrawn
        A manifest of which nothing is left stays registered.
    ArchiveSilent
        The archive of the study cannot be asked now.
    """
    last = await last_telling(parts, study_instance_uid)
    if last is None or last.state in (PublicationState.WAITING, PublicationState.ABANDONED):
        return ()
    if last.state is PublicationState.PUBLISHED and await _grows(parts, study_instance_uid):
        return ()
    kinds = await _compared(parts, last)
    await note(parts.database, study_instance_uid, kinds)
    for kind in kinds:
        tell = _log.warning if kind.needs_person else _log.info
        tell("a manifest drifted", publication=last.publication_id, drift=kind, reason=kind.explanation)
    return kinds


async def last_telling(parts: Parts, study_instance_uid: str) -> PublicationStatus | None:
    """The last publication of a study that tells how it stands."""
    publications = await find_publications(
        parts.database, study_instance_uid=study_instance_uid, states=_TELLING, limit=1
    )
    return publications[0] if publications else None


async def _grows(parts: Parts, study_instance_uid: str) -> bool:
    last = await parts.instances.last_received(study_instance_uid)
    if last is None:
        return False
    return 0 <= (datetime.now(UTC) - last).total_seconds() < parts.settings.publish_delay_seconds


async def _compared(parts: Parts, before: PublicationStatus) -> tuple[Drift, ...]:
    study = before.study_instance_uid
    registered = await reconciliation.learn(parts, study)
    bundle_gone = await bundles.settle(parts, study)
    if not registered:
        return (Drift.ENDED_BY_OTHERS,)
    by_others = (*_changed(before, registered[-1]), *([Drift.BUNDLE_GONE] if bundle_gone else []))
    here = await _mended(parts, before)
    # Whoever is given another patient's id is described by it.
    kinds = by_others + tuple(kind for kind in here if not by_others or kind is not Drift.DESCRIBED_OTHERWISE)
    if await find_order(parts.database, study) is OrderState.CANCELLED:
        kinds += (Drift.ORDER_CANCELLED,)
    return kinds


def _changed(before: PublicationStatus, now: PublicationStatus) -> Iterator[Drift]:
    if now.patient_id != before.patient_id:
        yield Drift.OTHER_PATIENT
    elif now.entry_uuid != before.entry_uuid:
        yield Drift.NEW_VERSION


async def _mended(parts: Parts, before: PublicationStatus) -> tuple[Drift, ...]:
    """Publish the study again, which changes nothing where nothing has changed."""
    try:
        enqueued = await rad68.publish(parts, before.study_instance_uid)
    except rad68.UnknownStudy:
        return (Drift.STUDY_LOST,)
    except rad68.NothingShareable:
        return (Drift.NOTHING_LEFT,)
    except NotPublishable:
        return (Drift.NOT_PUBLISHABLE,)
    if enqueued.unchanged:
        return ()
    references = [
        await _references(parts, publication_id)
        for publication_id in (before.publication_id, enqueued.publication_id)
    ]
    return tuple(drift.of_references(*references))


async def _references(parts: Parts, publication_id: str) -> frozenset[str]:
    document = await find_document(parts.database, publication_id)
    manifest = await asyncio.to_thread(read_manifest, document)
    return frozenset(instance.sop_instance_uid for _, _, instance in manifest.instances)
