"""The versions of an object, and the associations that a new one takes along."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import Select, and_, select, update

from registry.domain.metadata_update import Versioned
from registry.domain.submission import HAS_MEMBER, RELATIONSHIPS, ObjectClass
from registry.domain.versions import Joined
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT, IdsByPatient, fetch_at, grouped
from registry.store.fragments import decode_fragment
from registry.store.objects import LEVEL_1, LEVEL_2, SHOWN_AS_LATEST
from registry.store.tables import registry_object
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Association, AvailabilityStatus, DocumentEntry, Folder
from shared.store.engine import Transaction
from shared.store.statements import in_list

_object = registry_object.c
_holder = registry_object.alias("holder")

_VERSIONS = select(_object.logical_id, _object.version, _object.entry_uuid, _object.patient_id).where(
    OF_PATIENT, in_list(_object.logical_id, "ids")
)
#: The lineages of objects by entryUUID, and the numbers of their versions.
NUMBERS = select(_object.entry_uuid, _object.logical_id, _object.version).where(
    OF_PATIENT, in_list(_object.entry_uuid, "ids"), _object.logical_id.is_not(None)
)
_FRAGMENTS = select(_object.logical_id, _object.object_class, _object.fragment).where(
    OF_PATIENT, in_list(_object.entry_uuid, "ids")
)
_LINEAGES = (
    select(_object.logical_id)
    .where(
        OF_PATIENT,
        in_list(_object.unique_id, "ids"),
        _object.object_class == str(ObjectClass.DOCUMENT_ENTRY),
    )
    .distinct()
)
_SHOW = (
    update(registry_object)
    .where(
        OF_PATIENT,
        in_list(_object.entry_uuid, "ids"),
        _object.metadata_level == LEVEL_2,
        SHOWN_AS_LATEST,
    )
    .values(metadata_level=LEVEL_1)
)
_APPROVED_ASSOCIATION = (
    select(_object.fragment)
    .where(
        OF_PATIENT,
        _object.object_class == str(ObjectClass.ASSOCIATION),
        _object.status == str(AvailabilityStatus.APPROVED),
        in_list(_object.association_type, "types"),
    )
    .order_by(_object.entry_uuid)
)
_FROM = _APPROVED_ASSOCIATION.where(in_list(_object.source_object, "ids"))
# A submission set keeps the version that it was registered with.
_TO: Select[tuple[bytes]] = _APPROVED_ASSOCIATION.select_from(
    registry_object.join(
        _holder,
        and_(_holder.c.patient_id == _object.patient_id, _holder.c.entry_uuid == _object.source_object),
    )
).where(in_list(_object.target_object, "ids"), _holder.c.object_class != str(ObjectClass.SUBMISSION_SET))
_JOINED = select(_object.association_type, _object.source_object, _object.target_object).where(
    OF_PATIENT,
    in_list(_object.source_object, "ids"),
    _object.status == str(AvailabilityStatus.APPROVED),
)

_TYPES = sorted({str(HAS_MEMBER), *map(str, RELATIONSHIPS)})


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """One version of a lineage, and where it is; the latest is the greatest."""

    number: int
    entry_uuid: str
    patient_id: str


async def _find_versions(transaction: Transaction, logical_ids: Iterable[str]) -> dict[str, list[Version]]:
    """All versions of `logical_ids`, whichever patients they are of; the latest stands last."""
    places = await identifiers.find_leads(transaction, logical_ids)
    versions: dict[str, list[Version]] = {}
    for logical_id, *version in await fetch_at(transaction, _VERSIONS, places):
        versions.setdefault(logical_id, []).append(Version(*version))
    return {logical_id: sorted(of_lineage) for logical_id, of_lineage in versions.items()}


async def find_version_ids(transaction: Transaction, logical_ids: Sequence[str]) -> set[str]:
    """The entryUUIDs of all versions of `logical_ids`."""
    versions = await _find_versions(transaction, logical_ids)
    return {version.entry_uuid for version in chain.from_iterable(versions.values())}


async def find_latest_values(transaction: Transaction, logical_ids: Sequence[str]) -> dict[str, Versioned]:
    """The latest version of each of `logical_ids`, as a value."""
    places = _places_of_latest(await _find_versions(transaction, logical_ids))
    latest = {}
    for logical_id, object_class, fragment in await fetch_at(transaction, _FRAGMENTS, places):
        value = decode_fragment(ObjectClass(object_class), bytes(fragment))
        if isinstance(value, DocumentEntry | Folder):
            latest[logical_id] = value
    return latest


def _places_of_latest(versions: Mapping[str, Sequence[Version]]) -> IdsByPatient:
    latest = (of_lineage[-1] for of_lineage in versions.values())
    return grouped((version.entry_uuid, version.patient_id) for version in latest)


async def find_superseded(transaction: Transaction, ids: Iterable[str]) -> frozenset[str]:
    """Those of `ids` that are not the latest of their versions."""
    rows = await fetch_at(transaction, NUMBERS, await identifiers.find_owners(transaction, ids))
    versions = await _find_versions(transaction, (logical_id for _, logical_id, _ in rows))
    return frozenset(
        entry_uuid for entry_uuid, logical_id, number in rows if number < versions[logical_id][-1].number
    )


async def show_latest(transaction: Transaction, logical_ids: Iterable[str]) -> None:
    """Let level 1 show the latest version of each of `logical_ids`, after newer ones were removed."""
    places = _places_of_latest(await _find_versions(transaction, logical_ids))
    for patient_id, ids in places.items():
        await transaction.execute(_SHOW, patient=patient_id, ids=ids)


async def find_lineages(transaction: Transaction, unique_id: str) -> list[str]:
    """The logicalIDs of the document entries with a uniqueId."""
    places = await identifiers.find_leads(transaction, [nfc(unique_id)])
    return sorted({logical_id for (logical_id,) in await fetch_at(transaction, _LINEAGES, places)})


async def find_attached(transaction: Transaction, ids: Iterable[str]) -> tuple[Association, ...]:
    """The Approved memberships of folders and relationships that start or end at one of `ids`, once each."""
    places = await identifiers.find_leads(transaction, ids)
    rows = [
        *await fetch_at(transaction, _FROM, places, types=_TYPES),
        *await fetch_at(transaction, _TO, places, types=_TYPES),
    ]
    values = (decode_fragment(ObjectClass.ASSOCIATION, bytes(fragment)) for (fragment,) in rows)
    associations = {value.entry_uuid: value for value in values if isinstance(value, Association)}
    return tuple(associations.values())


async def find_joined(transaction: Transaction, sources: Iterable[str]) -> frozenset[Joined]:
    """Type, source and target of the Approved associations from `sources`."""
    rows = await fetch_at(transaction, _JOINED, await identifiers.find_leads(transaction, sources))
    return frozenset((association_type, source, target) for association_type, source, target in rows)
