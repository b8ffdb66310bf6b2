"""Manifests of others, where they are at hand: a test bed has no error, published ones have those known."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.findings import Severity
from conformance.validation import validate

SHARED = Path(__file__).parents[3] / "../shared"
KEY_OBJECT_SELECTION = b"1.2.840.10008.5.1.4.1.1.88.59"
#: What is wrong with manifests that were published as examples.
PUBLISHED = {
    "drimbox/kos.dcm": {
        "DCM-008",
        "KOS-005",
        "KOS-007",
        "KOS-015",
        "KOS-016",
        "KOS-017",
        "KOS-049",
        "KOS-054",
    },
    "eu-kos/1.2.826.0.1.3680043.2.1043.693076.0.66982.83.3.1.dcm": {"KOS-019"},
    "eu-kos/1.3.12.2.1107.5.8.2.100041.2024082003211020554540005234.1.dcm": set(),
    "eu-kos/GK17285-KOS.dcm": set(),
}


def errors(path: Path) -> set[str]:
    return {finding.id for finding in validate(path).findings if finding.severity is Severity.ERROR}


def test_manifests_of_a_public_test_bed_have_no_error():
    paths = [
        path for path in (SHARED / "dicom").rglob("*.dcm") if KEY_OBJECT_SELECTION in path.read_bytes()[:1024]
    ]
    if not paths:
        pytest.skip("the studies are not at hand")
    assert {path.name: ids for path in paths if (ids := errors(path))} == {}


@pytest.mark.parametrize("name", PUBLISHED)
def test_of_published_manifests_what_is_wrong_is_found(name: str):
    path = SHARED / "samples" / name
    if not path.exists():
        pytest.skip("the samples are not at hand")
    assert errors(path) == PUBLISHED[name]


@pytest.mark.parametrize("name", ["MADO_KOS_A.dcm", "MADO_KOS_B.dcm"])
def test_published_manifests_of_the_trial_text_are_found_to_be_such(name: str):
    path = SHARED / "samples" / "mado" / name
    if not path.exists():
        pytest.skip("the samples are not at hand")
    assert {"MADO-023", "MADO-048", "MADO-054"} <= errors(path)
