"""Documents of a patient whose metadata were updated since they were registered (ITI-57, ITI-92)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import or_, select

from registry.domain.submission import ObjectClass
from registry.store.by_patient import OF_PATIENT, fetch_at
from registry.store.fragments import read_particulars
from registry.store.identifiers import find_leads
from registry.store.objects import LEVEL_2
from registry.store.tables import registry_object
from shared.consent.particulars import UNKNOWN
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
_OF_ALL = select(_object.unique_id).where(OF_PATIENT, _IS_DOCUMENT).distinct()
_WHOLE_VERSIONS = _VERSIONS.add_columns(_object.fragment)


async def find_updated_documents(
    database: Reader, patient_id: str, *, particulars: bool = False
) -> dict[str, tuple[Entry, ...]]:
    """By uniqueId, each entry that a document has now which is or was this patient's and was updated: the
    latest version of each lineage, whosever it is. With `particulars` those of all documents, with what
    policies about single ones ask."""
    of_which, versions = (_OF_ALL, _WHOLE_VERSIONS) if particulars else (_CHANGED, _VERSIONS)
    changed = [unique_id for (unique_id,) in await database.fetch(of_which, patient=patient_id)]
    if not changed:
        return {}
    entries: dict[str, tuple[Entry, ...]] = {}
    places = await find_leads(database, changed)
    for unique_id, entry in _latest(await fetch_at(database, versions, places)):
        entries[unique_id] = (*entries.get(unique_id, ()), entry)
    return entries


def _latest(rows: Iterable[Row]) -> Iterable[tuple[str, Entry]]:
    latest = {logical_id: rest for logical_id, _, *rest in sorted(rows, key=lambda row: (row[0], row[1]))}
    for unique_id, patient_id, codes, class_code, type_code, *whole in latest.values():
        confidentiality = frozenset((codes or "").split("\n")) - {""}
        particulars = read_particulars(bytes(whole[0])) if whole else UNKNOWN
        yield unique_id, Entry(patient_id, confidentiality, class_code or "", type_code or "", *particulars)
