"""Documents of a patient whose metadata were updated since they were registered (ITI-57, ITI-92)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import or_, select

from registry.domain.submission import ObjectClass
from registry.store.by_patient import OF_PATIENT, fetch_at
from registry.store.identifiers import find_leads
from registry.store.objects import LEVEL_2
from registry.store.tables import registry_object
from shared.consent.policy import Entry
from shared.store.engine import Reader, Row
from shared.store.statements import in_list

_object = registry_object.c
_IS_DOCUMENT = _object.object_class == str(ObjectClass.DOCUMENT_ENTRY)

# Of a document that was given to another patient an old version stays behind, which level 1 does not show.
_CHANGED = (
    select(_object.unique_id)
    .where(OF_PATIENT, _IS_DOCUMENT, or_(_object.version > 1, _object.metadata_level == LEVEL_2))
    .distinct()
)
_VERSIONS = select(
    _object.logical_id,
    _object.version,
    _object.unique_id,
    _object.patient_id,
    _object.confidentiality,
    _object.class_code,
    _object.type_code,
).where(OF_PATIENT, _IS_DOCUMENT, in_list(_object.unique_id, "ids"))


async def find_updated_documents(database: Reader, patient_id: str) -> dict[str, tuple[Entry, ...]]:
    """By uniqueId, each entry that a document has now which is or was this patient's and was updated: the
    latest version of each lineage, whosever it is."""
    changed = [unique_id for (unique_id,) in await database.fetch(_CHANGED, patient=patient_id)]
    if not changed:
        return {}
    entries: dict[str, tuple[Entry, ...]] = {}
    places = await find_leads(database, changed)
    for unique_id, entry in _latest(await fetch_at(database, _VERSIONS, places)):
        entries[unique_id] = (*entries.get(unique_id, ()), entry)
    return entries


def _latest(rows: Iterable[Row]) -> Iterable[tuple[str, Entry]]:
    latest = {logical_id: rest for logical_id, _, *rest in sorted(rows, key=lambda row: (row[0], row[1]))}
    for unique_id, patient_id, codes, class_code, type_code in latest.values():
        confidentiality = frozenset((codes or "").split("\n")) - {""}
        yield unique_id, Entry(patient_id, confidentiality, class_code or "", type_code or "")
