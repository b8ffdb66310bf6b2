"""Documents of a patient whose metadata were updated since they were registered (ITI-57, ITI-92)."""

from __future__ import annotations

from sqlalchemy import bindparam, exists, select

from registry.domain.submission import Class
from registry.store.tables import registry_object
from shared.store.engine import Reader

_object = registry_object.c
_newer = registry_object.alias("newer")
_updated = registry_object.alias("updated")

_OF_PATIENT = (
    select(_object.unique_id, _object.confidentiality)
    .where(
        _object.patient_id == bindparam("patient_id"),
        _object.object_class == str(Class.DOCUMENT_ENTRY),
        _object.unique_id.in_(
            select(_updated.c.unique_id).where(
                _updated.c.patient_id == bindparam("patient_id"),
                _updated.c.object_class == str(Class.DOCUMENT_ENTRY),
                _updated.c.version > 1,
            )
        ),
        ~exists()
        .where(
            _newer.c.patient_id == _object.patient_id,
            _newer.c.logical_id == _object.logical_id,
            _newer.c.version > _object.version,
        )
        .correlate(registry_object),
    )
    .order_by(_object.unique_id, _object.entry_uuid)
)


async def find_updated_documents(
    database: Reader, patient_id: str
) -> dict[str, tuple[frozenset[str], ...]]:
    """By uniqueId, the confidentiality codes of each entry that an updated document has now: of the latest
    version of each lineage."""
    found: dict[str, tuple[frozenset[str], ...]] = {}
    for unique_id, codes in await database.fetch(_OF_PATIENT, patient_id=patient_id):
        entry = frozenset((codes or "").split("\n")) - {""}
        found[unique_id] = (*found.get(unique_id, ()), entry)
    return found
