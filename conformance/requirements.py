"""Every requirement that is judged, read from the table beside this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from conformance.findings import Finding, Requirement, Severity, shortened

#: One line for each: id | severity | clause | what is right. A heading begins with #.
TABLE: Final = Path(__file__).with_name("requirements.txt")


@lru_cache(maxsize=1)
def requirements() -> Mapping[str, Requirement]:
    """Every requirement by its id, in the order of the table."""
    return {one.id: one for _, section in sections() for one in section}


def sections() -> Iterator[tuple[str, tuple[Requirement, ...]]]:
    """The headings of the table, each with its requirements."""
    heading = ""
    rows: list[Requirement] = []
    for line in TABLE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            if rows:
                yield heading, tuple(rows)
            heading, rows = line.lstrip("# "), []
        elif line:
            id, severity, clause, text = (cell.strip() for cell in line.split("|", 3))
            rows.append(Requirement(id, Severity(severity), clause, text))
    yield heading, tuple(rows)


def finding(id: str, place: str, wrong: str, value: object = "", *, right: str = "") -> Finding:
    """A place where the requirement `id` is not met; `right` where more can be said than the table says."""
    requirement = requirements()[id]
    return Finding(
        id,
        requirement.severity,
        requirement.clause,
        place,
        wrong,
        right or requirement.text,
        shortened(value),
    )
