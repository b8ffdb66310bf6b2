"""Objects are found by their patient: with it every statement on them begins, and reads one partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam
from sqlalchemy.sql.elements import ClauseElement

from registry.domain.visibility import Candidate
from registry.store.tables import registry_object
from shared.store.engine import Reader, Row

#: What each statement that `fetch_at` carries out asks first.
OF_PATIENT = registry_object.c.patient_id == bindparam("patient")

#: Ids by the patient where they are looked for.
IdsByPatient = Mapping[str, Sequence[str]]


def grouped(pairs: Iterable[tuple[str, str]]) -> IdsByPatient:
    """Places from pairs of id and patient."""
    places: dict[str, set[str]] = {}
    for identifier, patient_id in pairs:
        places.setdefault(patient_id, set()).add(identifier)
    return {patient_id: sorted(places[patient_id]) for patient_id in sorted(places)}


def places_of(candidates: Iterable[Candidate]) -> IdsByPatient:
    """Where `candidates` are."""
    return grouped((item.entry_uuid, item.patient_id) for item in candidates)


async def fetch_at(
    reader: Reader, statement: ClauseElement, places: IdsByPatient, **parameters: Any
) -> list[Row]:
    """The rows of a statement on one patient's objects (`patient`, `ids`), asked for each patient.

    Nearly always there is one. A list of patients in one statement would be planned for every partition.
    """
    rows: list[Row] = []
    for patient_id, ids in places.items():
        rows += await reader.fetch(statement, patient=patient_id, ids=ids, **parameters)
    return rows
