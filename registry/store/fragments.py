"""Fragments: the ebRIM of an object as it is kept and answered, made from its value and read back into one.

Queries select fragments and join them. A change writes a new one; a merge of patients alone changes them as
they are (`shared.ebrim.codec.replace_patient_id`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from sqlalchemy import select

from registry.domain.submission import ObjectClass
from registry.domain.visibility import Candidate
from registry.store.by_patient import OF_PATIENT, fetch_at, places_of
from registry.store.tables import registry_object
from shared.consent.particulars import UNKNOWN, Particulars, particulars_of
from shared.ebrim import codec
from shared.ebrim.model import Association, DocumentEntry, Folder, RegistryObject, SubmissionSet
from shared.store.engine import Reader
from shared.store.statements import in_list
from shared.xml import NS, parse

_object = registry_object.c

_FRAGMENTS = select(_object.entry_uuid, _object.fragment).where(
    OF_PATIENT, in_list(_object.entry_uuid, "ids")
)

_OPEN = f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}">'.encode()
_CLOSE = b"</rim:RegistryObjectList>"


def encode_fragment(value: RegistryObject) -> bytes:
    """The fragment that says `value`."""
    match value:
        case DocumentEntry():
            return codec.encode_document_entry(value)
        case SubmissionSet():
            return codec.encode_submission_set(value)
        case Folder():
            return codec.encode_folder(value)
        case Association():
            return codec.encode_association(value)


def decode_fragment(object_class: ObjectClass, fragment: bytes) -> RegistryObject:
    """The value that a fragment of the registry says."""
    element = parse(_OPEN + fragment + _CLOSE)[0]
    match object_class:
        case ObjectClass.DOCUMENT_ENTRY:
            return codec.decode_document_entry(element)
        case ObjectClass.SUBMISSION_SET:
            return codec.decode_submission_set(element)
        case ObjectClass.FOLDER:
            return codec.decode_folder(element)
        case ObjectClass.ASSOCIATION:
            return codec.decode_association(element)


async def find_particulars(reader: Reader, patient_id: str, ids: Sequence[str]) -> dict[str, Particulars]:
    """What policies about single documents ask of entries of a patient, by id, as far as they are there."""
    rows = await reader.fetch(_FRAGMENTS, patient=patient_id, ids=list(ids))
    fragments = {entry_uuid: bytes(fragment) for entry_uuid, fragment in rows}
    return await asyncio.to_thread(lambda: {each: read_particulars(one) for each, one in fragments.items()})


def read_particulars(fragment: bytes) -> Particulars:
    """The same of the fragment of an entry."""
    value = decode_fragment(ObjectClass.DOCUMENT_ENTRY, fragment)
    return particulars_of(value) if isinstance(value, DocumentEntry) else UNKNOWN


async def find_fragments(reader: Reader, candidates: Iterable[Candidate]) -> dict[str, bytes]:
    """The fragments of `candidates` by id, of those that are still there."""
    rows = await fetch_at(reader, _FRAGMENTS, places_of(candidates))
    return {entry_uuid: bytes(fragment) for entry_uuid, fragment in rows}
