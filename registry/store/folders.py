"""Find folders by their attributes (ITI TF-2 3.18.4.1.2.3.7.3)."""

from __future__ import annotations

from collections.abc import Mapping

from registry.domain.submission import ObjectClass
from registry.store import objects
from registry.store.filters import Condition, ObjectsOfPatient, before, equals, has_value, not_before
from registry.store.tables import registry_object

_object = registry_object.c
_FD = "$XDSFolder"

FILTERS: Mapping[str, Condition] = {
    f"{_FD}LastUpdateTimeFrom": not_before(_object.last_update_time),
    f"{_FD}LastUpdateTimeTo": before(_object.last_update_time),
    f"{_FD}CodeList": has_value(objects.FOLDER_CODE),
    f"{_FD}Status": equals(_object.status),
}

FOLDERS = ObjectsOfPatient(ObjectClass.FOLDER, FILTERS)
