"""Under which id another community knows a patient of ours, as far as that was established."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.ebrim.identifiers import is_cx

COLUMNS = ("patient_id", "home_community_id", "their_patient_id")


class LinksError(ValueError):
    """A table of links cannot be read; the text names the line and no patient."""


@dataclass(frozen=True, slots=True)
class Links:
    """(our patient id, homeCommunityId) to the patient id there; all ids are CX."""

    by_patient: Mapping[tuple[str, str], str] = field(default_factory=dict)

    def of(self, patient_id: str, home: str) -> str:
        """The id under which to ask `home`; the same when no other is known.

        That is safe: its assigning authority keeps an id from meaning somebody else elsewhere.
        """
        return self.by_patient.get((patient_id, home), patient_id)


def read_links(lines: Iterable[str]) -> Links:
    """Read a CSV table with the head `COLUMNS`.

    Raises
    ------
    LinksError
        The head or a line is malformed, or one patient is linked twice to the same community.
    """
    rows = csv.reader(lines, strict=True)
    try:
        if tuple(next(rows, ())) != COLUMNS:
            raise LinksError(f"the first line must be {','.join(COLUMNS)}")
        links: dict[tuple[str, str], str] = {}
        for row in rows:
            if not row:
                continue
            key, theirs = _link(row, rows.line_num)
            if links.setdefault(key, theirs) != theirs:
                raise LinksError(f"line {rows.line_num}: this patient is linked to that community twice")
        return Links(links)
    except csv.Error as error:
        raise LinksError(f"line {rows.line_num}: {error}") from None


def _link(row: list[str], line: int) -> tuple[tuple[str, str], str]:
    if len(row) != len(COLUMNS):
        raise LinksError(f"line {line}: {len(COLUMNS)} columns are needed, {len(row)} found")
    ours, home, theirs = (value.strip() for value in row)
    if not (is_cx(ours) and is_cx(theirs)):
        raise LinksError(f"line {line}: a patient id is no CX; id^^^&oid&ISO would be right")
    return (ours, home), theirs
