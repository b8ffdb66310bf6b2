"""What policies about single documents ask of one: who wrote it, and by which ids it is named.

Both stand in its metadata, which the registry alone keeps whole; it tells them to whoever decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from shared.ebrim import schemes
from shared.ebrim.model import Author, DocumentEntry


class Particulars(NamedTuple):
    """`authors` are `person|id^^authority` and `institution|id^^authority`, an institution without an id by
    its name; `ids` the uniqueId, and the UIDs of studies in referenceIdList."""

    authors: frozenset[str]
    ids: frozenset[str]


UNKNOWN: Final = Particulars(frozenset(), frozenset())


def particulars_of(entry: DocumentEntry) -> Particulars:
    """What the metadata of a document say."""
    authors = (spelled for author in entry.authors for spelled in _spelled(author))
    return Particulars(frozenset(authors), frozenset({entry.unique_id, *_studies(entry)}))


def _spelled(author: Author) -> Iterator[str]:
    person = _components(author.person, 9)
    if person[0]:
        yield f"person|{_identified(person[0], person[8])}"
    for institution in author.institutions:
        parts = _components(institution, 10)
        if parts[9] or parts[0]:
            yield f"institution|{_identified(parts[9], parts[5]) if parts[9] else parts[0]}"


def _components(text: str, number: int) -> list[str]:
    return (text.split("^") + [""] * number)[:number]


def _identified(identifier: str, authority: str) -> str:
    """An id, and the OID of its authority where there is one (`&OID&ISO`)."""
    oid = authority.split("&")[1] if "&" in authority else authority
    return f"{identifier}^^{oid}" if oid else identifier


def _studies(entry: DocumentEntry) -> Iterator[str]:
    for reference in entry.reference_ids:
        identifier, *_, kind = reference.split("^")
        if kind == schemes.REFERENCE_STUDY_INSTANCE_UID:
            yield identifier
