"""Filters: what the parameters of a stored query ask of the attributes of an object (ITI TF-2
3.18.4.1.2.3.7), and the objects of one patient that pass them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, bindparam, exists, or_, select

from registry.domain.stored_queries import Criteria
from registry.domain.submission import ObjectClass
from registry.domain.visibility import Candidate
from registry.store.by_patient import OF_PATIENT
from registry.store.candidates import AT_LEVEL, COLUMNS, candidate_of
from registry.store.tables import object_value, registry_object
from shared.ebrim.model import Timestamp
from shared.store.engine import Transaction
from shared.store.statements import in_list, like_any

_object = registry_object.c

#: The condition of a parameter, given the name under which its values are bound.
Condition = Callable[[str], ColumnElement[bool]]


def equals(column: ColumnElement[Any]) -> Condition:
    """`column` is one of the alternatives."""
    return lambda name: in_list(column, name)


def has_value(attribute: str) -> Condition:
    """One of the values of `attribute` is one of the alternatives."""
    return lambda name: _with_value(attribute, in_list(object_value.c.value, name))


def has_like(attribute: str) -> Condition:
    """One of the values of `attribute` matches one of the patterns."""
    return lambda name: _with_value(attribute, like_any(object_value.c.value, name))


def _with_value(attribute: str, condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(
        object_value.c.patient_id == _object.patient_id,
        object_value.c.entry_uuid == _object.entry_uuid,
        object_value.c.attribute == attribute,
        condition,
    )


def not_before(column: ColumnElement[Any]) -> Condition:
    """`column` is not before the bound; what has no time passes."""
    return lambda name: or_(column.is_(None), column >= bindparam(name))


def before(column: ColumnElement[Any]) -> Condition:
    """`column` is before the bound, which is exclusive; what has no time passes."""
    return lambda name: or_(column.is_(None), column < bindparam(name))


#: Which filters a request uses, and how many Slots each: requests of one signature share a statement.
Signature = tuple[tuple[str, int], ...]


def signature(criteria: Criteria, filters: Mapping[str, Condition]) -> Signature:
    """The signature of criteria among `filters`."""
    return tuple((name, len(criteria.clauses[name])) for name in filters if name in criteria.clauses)


def bound(criteria: Criteria, filters: Mapping[str, Condition]) -> dict[str, Any]:
    """The parameters of that statement."""
    return {
        _bound_name(name, at): _bound_value(name, values)
        for name, clauses in criteria.clauses.items()
        if name in filters
        for at, values in enumerate(clauses)
    }


def conditions(used: Signature, filters: Mapping[str, Condition]) -> Iterable[ColumnElement[bool]]:
    """The conditions of that statement; Slots of one name must all be met."""
    for name, number in used:
        for at in range(number):
            yield filters[name](_bound_name(name, at))


def _bound_name(name: str, at: int) -> str:
    return f"{name.removeprefix('$')}_{at}"


def _bound_value(name: str, values: Sequence[str]) -> Any:
    if name.endswith(("TimeFrom", "TimeTo")):
        return Timestamp(values[0]).earliest
    return list(values)


class ObjectsOfPatient:
    """The objects of one class of one patient, by `filters`; served by `registry_object_of_patient`."""

    def __init__(self, object_class: ObjectClass, filters: Mapping[str, Condition]) -> None:
        self._filters = filters
        self._object_class = object_class
        self._statement = lru_cache(maxsize=128)(self._statement_of)

    async def find(
        self, transaction: Transaction, criteria: Criteria, *, patient_id: str, most: int
    ) -> list[Candidate]:
        """Find at most `most` of them."""
        rows = await transaction.fetch(
            self._statement(signature(criteria, self._filters)),
            patient=patient_id,
            most=most,
            level=criteria.level,
            **bound(criteria, self._filters),
        )
        return [candidate_of(row) for row in rows]

    def _statement_of(self, used: Signature) -> Select[Any]:
        return (
            select(*COLUMNS)
            .where(
                OF_PATIENT,
                _object.object_class == str(self._object_class),
                AT_LEVEL,
                *conditions(used, self._filters),
            )
            .limit(bindparam("most", type_=Integer))
        )
