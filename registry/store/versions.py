"""The versions of an object, and the associations that a new one takes along."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, bindparam, exists, select

from registry.domain.metadata_update import Versioned
from registry.domain.submission import HAS_MEMBER, RELATIONSHIPS, Class
from registry.domain.versions import Joined
from registry.store.objects import decode_fragment
from registry.store.tables import registry_object
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Association, AvailabilityStatus, DocumentEntry, Folder
from shared.store.engine import Transaction
from shared.store.statements import in_list

_object = registry_object.c
_newer = registry_object.alias("newer")
_holder = registry_object.alias("holder")

_VERSIONS = select(_object.entry_uuid).where(in_list(_object.logical_id, "logical_ids"))
_LATEST = select(_object.logical_id, _object.object_class, _object.fragment).where(
    in_list(_object.logical_id, "logical_ids"),
    ~exists()
    .where(_newer.c.logical_id == _object.logical_id, _newer.c.version > _object.version)
    .correlate(registry_object),
)
_LINEAGES = (
    select(_object.logical_id)
    .where(
        _object.unique_id == bindparam("unique_id"),
        _object.object_class == str(Class.DOCUMENT_ENTRY),
    )
    .distinct()
)
_APPROVED_ASSOCIATION = (
    select(_object.fragment)
    .where(
        _object.object_class == str(Class.ASSOCIATION),
        _object.status == str(AvailabilityStatus.APPROVED),
        in_list(_object.association_type, "types"),
    )
    .order_by(_object.entry_uuid)
)
_FROM = _APPROVED_ASSOCIATION.where(in_list(_object.source_object, "ids"))
# A submission set keeps the version that it was registered with.
_TO: Select[tuple[bytes]] = _APPROVED_ASSOCIATION.select_from(
    registry_object.join(_holder, _holder.c.entry_uuid == _object.source_object)
).where(in_list(_object.target_object, "ids"), _holder.c.object_class != str(Class.SUBMISSION_SET))
_JOINED = select(_object.association_type, _object.source_object, _object.target_object).where(
    in_list(_object.source_object, "sources"),
    _object.status == str(AvailabilityStatus.APPROVED),
)

_TYPES = sorted({str(HAS_MEMBER), *map(str, RELATIONSHIPS)})


async def find_version_ids(transaction: Transaction, logical_ids: Sequence[str]) -> set[str]:
    """The entryUUIDs of all versions of `logical_ids`."""
    if not logical_ids:
        return set()
    return {entry_uuid for (entry_uuid,) in await transaction.fetch(_VERSIONS, logical_ids=logical_ids)}


async def find_latest_values(transaction: Transaction, logical_ids: Sequence[str]) -> dict[str, Versioned]:
    """The latest version of each of `logical_ids`, as a value, by `registry_object_version`."""
    if not logical_ids:
        return {}
    found = {}
    for logical_id, object_class, fragment in await transaction.fetch(_LATEST, logical_ids=logical_ids):
        value = decode_fragment(Class(object_class), bytes(fragment))
        if isinstance(value, DocumentEntry | Folder):
            found[logical_id] = value
    return found


async def find_lineages(transaction: Transaction, unique_id: str) -> list[str]:
    """The logicalIDs of the document entries with a uniqueId."""
    return [logical_id for (logical_id,) in await transaction.fetch(_LINEAGES, unique_id=nfc(unique_id))]


async def find_attached(transaction: Transaction, ids: Iterable[str]) -> tuple[Association, ...]:
    """The Approved memberships of folders and relationships that start or end at one of `ids`, once each."""
    wanted = sorted(set(ids))
    if not wanted:
        return ()
    rows = [
        *await transaction.fetch(_FROM, ids=wanted, types=_TYPES),
        *await transaction.fetch(_TO, ids=wanted, types=_TYPES),
    ]
    values = (decode_fragment(Class.ASSOCIATION, bytes(fragment)) for (fragment,) in rows)
    found = {value.entry_uuid: value for value in values if isinstance(value, Association)}
    return tuple(found.values())


async def find_joined(transaction: Transaction, sources: Iterable[str]) -> frozenset[Joined]:
    """Type, source and target of the Approved associations from `sources`."""
    wanted = sorted(set(sources))
    if not wanted:
        return frozenset()
    rows = await transaction.fetch(_JOINED, sources=wanted)
    return frozenset((association_type, source, target) for association_type, source, target in rows)
