"""What comes is what was asked for, and of the patient whom the manifest names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consumer.domain.identity import InstanceIdentity, are_strangers, contradictions
from consumer.domain.study import RequestedInstance

REQUESTED = RequestedInstance(
    study_instance_uid="1.1",
    series_instance_uid="1.2",
    sop_instance_uid="1.3",
    sop_class_uid="1.4",
    source_patient_id="P-1",
    source_patient_name="Roe^Rick",
)
CAME = InstanceIdentity(
    study_instance_uid="1.1",
    series_instance_uid="1.2",
    sop_instance_uid="1.3",
    sop_class_uid="1.4",
    patient_id="P-1",
    patient_name="ROE^RICK",
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"patient_name": "Miller^Rick"},  # a name may change, a Patient ID tells who it is
        {"patient_id": "", "patient_name": "Roé^R"},
        {"patient_id": "", "patient_name": ""},
    ],
)
def test_the_same_patient_is_the_same(changes: dict[str, str]):
    assert list(contradictions(REQUESTED, replace(CAME, **changes))) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"patient_id": "P-2"}, "another patient"),
        ({"patient_id": "", "patient_name": "Doe^Jane"}, "another patient"),
        ({"study_instance_uid": "1.9"}, "another study"),
        ({"series_instance_uid": "1.9"}, "another series"),
        ({"sop_instance_uid": "1.9"}, "instead of"),
        ({"sop_class_uid": "1.9"}, "another SOP class"),
    ],
)
def test_what_is_another_one_is_told_without_a_word_on_who_it_is(changes: dict[str, str], word: str):
    (told,) = contradictions(REQUESTED, replace(CAME, **changes))

    assert word in told
    assert not any(value in told for value in ("P-1", "P-2", "Roe", "Jane"))


@pytest.mark.parametrize(
    ("name", "other", "strangers"),
    [
        ("Roe, Rick", "ROE^RICK", False),
        ("Müller, Anna", "MULLER^A", False),
        ("Roe, Rick", "Phantom^Phoebe", True),
        ("", "Phantom^Phoebe", False),
    ],
)
def test_who_shares_no_word_of_a_name_is_a_stranger(name: str, other: str, strangers: bool):
    assert are_strangers(name, other) is strangers
