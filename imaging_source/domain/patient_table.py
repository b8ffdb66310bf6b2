"""Who the patients of other hospitals are here, as a table says (RAD TF, Import Reconciliation)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from shared.imaging.local_identity import LocalIdentity, WrongIdentity

_FOREIGN: Final = ("foreign_id", "foreign_issuer")
_LOCAL: Final = ("patient_id", "issuer", "name", "birth_date", "sex")
_FORM: Final = (
    'a table of patients is {"patients": [{"foreign_id": …, "foreign_issuer": …, "patient_id": …, "issuer": '
    "…}, …]}; name, birth_date (YYYYMMDD) and sex (M, F, O) may stand there too"
)

ForeignId = tuple[str, str]


class Unlisted(StrEnum):
    """What comes of an instance whose patient's id another domain issued, and the table does not hold."""

    KEEP = "keep"
    REFUSE = "refuse"


class WrongTable(ValueError):
    """A table of patients cannot be used; the text says where and why, and names no patient."""


def decode_table(content: Any) -> Mapping[ForeignId, LocalIdentity]:
    """Local identities by the id and the issuer that others wrote; an issuer is its name or its universal id.

    Raises
    ------
    WrongTable
        It is no table, an entry cannot be used, or two are of one patient.
    """
    entries = content.get("patients") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise WrongTable(_FORM)
    table: dict[ForeignId, LocalIdentity] = {}
    for at, entry in enumerate(entries, 1):
        foreign, local = _entry(entry, at)
        if foreign in table:
            raise WrongTable(f"entry {at}: the same foreign patient stands there twice")
        table[foreign] = local
    return table


def _entry(entry: Any, at: int) -> tuple[ForeignId, LocalIdentity]:
    keys = {*_FOREIGN, *_LOCAL}
    if not isinstance(entry, dict) or not keys.issuperset(entry):
        raise WrongTable(f"entry {at}: {_FORM}")
    if not all(isinstance(value, str) for value in entry.values()) or not entry.get("foreign_id", "").strip():
        raise WrongTable(f"entry {at}: every value is a text, and foreign_id is needed")
    try:
        local = LocalIdentity(**{"patient_id": "", **{name: entry[name] for name in _LOCAL if name in entry}})
    except WrongIdentity as error:
        raise WrongTable(f"entry {at}: {error}") from None
    return (entry["foreign_id"].strip(), entry.get("foreign_issuer", "").strip()), local
