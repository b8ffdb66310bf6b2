"""Of a study that is registered in both encodings of RAD MADO one entry is shown, what everybody reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.transactions import iti18
from shared.ebrim.model import DocumentEntry
from shared.imaging import manifest_bundle
from tests.support.metadata import a_document_entry

STUDY = "1.2.3^^^^urn:ihe:iti:xds:2016:studyInstanceUID"
ENTRY = a_document_entry()
FAR = "urn:oid:1.9"
OTHER = "1.2.4^^^^urn:ihe:iti:xds:2016:studyInstanceUID"


def document(**changes: object) -> DocumentEntry:
    return replace(ENTRY, format_code=iti18.MANIFEST, reference_ids=(STUDY,), **changes)  # type: ignore[arg-type]


def bundle(**changes: object) -> DocumentEntry:
    return replace(document(), format_code=manifest_bundle.FORMAT, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ((bundle(), document()), (document(),)),
        ((bundle(),), (bundle(),)),
        ((bundle(reference_ids=(OTHER,)), document()), (bundle(reference_ids=(OTHER,)), document())),
        (
            (bundle(home_community_id=FAR), document()),
            (bundle(home_community_id=FAR), document()),
        ),
        # Nothing says what they are about: both are shown.
        ((bundle(reference_ids=()), replace(document(), reference_ids=())),) * 2,
    ],
    ids=[
        "both encodings",
        "a Bundle alone",
        "another study",
        "another community",
        "studies that are not named",
    ],
)
async def test_each_study_is_found_once(monkeypatch, found, shown):
    async def find(*_: object, **__: object) -> tuple[DocumentEntry, ...]:
        return found

    monkeypatch.setattr(iti18, "find_documents", find)

    assert await iti18.find_manifests(None, patient_id="P") == shown  # type: ignore[arg-type]
