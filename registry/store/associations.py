"""Find associations by what they join, and what is joined by them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import and_, select

from registry.domain.submission import HAS_MEMBER, ObjectClass
from registry.domain.visibility import Candidate
from registry.store import identifiers
from registry.store.by_patient import OF_PATIENT, fetch_at, places_of
from registry.store.candidates import COLUMNS, candidate_of
from registry.store.tables import registry_object
from shared.store.engine import Transaction
from shared.store.statements import in_list

_object = registry_object.c
_holder = registry_object.alias("holder")

_IN_STATUS = in_list(_object.status, "statuses")
_FROM = select(*COLUMNS).where(OF_PATIENT, in_list(_object.source_object, "ids"), _IN_STATUS)
_TO = select(*COLUMNS).where(OF_PATIENT, in_list(_object.target_object, "ids"), _IN_STATUS)
_MEMBERSHIPS = _FROM.where(_object.association_type == str(HAS_MEMBER))
_FROM_OF_TYPE = _FROM.where(in_list(_object.association_type, "types"))
_TO_OF_TYPE = _TO.where(in_list(_object.association_type, "types"))
# What a holder holds, by reference too, is in associations of its own patient.
_HELD_BY = (
    select(*COLUMNS)
    .select_from(
        registry_object.join(
            _holder,
            and_(_holder.c.patient_id == _object.patient_id, _holder.c.entry_uuid == _object.source_object),
        )
    )
    .where(
        OF_PATIENT,
        in_list(_object.target_object, "ids"),
        _IN_STATUS,
        _object.association_type == str(HAS_MEMBER),
        in_list(_holder.c.object_class, "classes"),
    )
)


async def find_touching(
    transaction: Transaction, ids: Iterable[str], *, statuses: Sequence[str]
) -> list[Candidate]:
    """Every association in one of `statuses` that starts or ends at one of `ids`."""
    places = await identifiers.find_leads(transaction, ids)
    return _once(
        [
            *await fetch_at(transaction, _FROM, places, statuses=statuses),
            *await fetch_at(transaction, _TO, places, statuses=statuses),
        ]
    )


async def find_memberships_of(
    transaction: Transaction, holders: Iterable[Candidate], *, statuses: Sequence[str]
) -> list[Candidate]:
    """The HasMember associations from `holders`."""
    return _once(await fetch_at(transaction, _MEMBERSHIPS, places_of(holders), statuses=statuses))


async def find_memberships_in(
    transaction: Transaction, object_class: ObjectClass, members: Iterable[str], *, statuses: Sequence[str]
) -> list[Candidate]:
    """The HasMember associations to `members` from holders of one class."""
    places = await identifiers.find_leads(transaction, members)
    return _once(
        await fetch_at(transaction, _HELD_BY, places, classes=[str(object_class)], statuses=statuses)
    )


async def find_of_types(
    transaction: Transaction, ids: Iterable[str], types: Iterable[str], *, statuses: Sequence[str]
) -> list[Candidate]:
    """The associations of one of `types` that start or end at one of `ids`."""
    places, of = await identifiers.find_leads(transaction, ids), sorted(set(types))
    return _once(
        [
            *await fetch_at(transaction, _FROM_OF_TYPE, places, types=of, statuses=statuses),
            *await fetch_at(transaction, _TO_OF_TYPE, places, types=of, statuses=statuses),
        ]
    )


def _once(rows: Iterable[tuple[object, ...]]) -> list[Candidate]:
    return list({row[0]: candidate_of(row) for row in rows}.values())
