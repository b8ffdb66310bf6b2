"""Identifiers of C-MOVE and C-GET: by the letter of PS3.4 C.4.2.1.4, and nothing is guessed."""

from __future__ import annotations

import pytest

from imaging_source.domain.retrieve_identifier import (
    IdentifierMismatch,
    Level,
    RetrieveKeys,
    Root,
    retrieve_keys,
)

PATIENT, STUDY, SERIES, INSTANCE, LEVEL = 0x00100020, 0x0020000D, 0x0020000E, 0x00080018, 0x00080052


def test_a_list_is_taken_at_the_level_that_is_asked_for():
    assert retrieve_keys(Root.STUDY, {LEVEL: ["STUDY"], STUDY: ["1.2", "1.3\0", "1.2"]}) == RetrieveKeys(
        level=Level.STUDY, study_instance_uids=("1.2", "1.3")
    )


def test_every_level_names_what_is_above_it():
    values = {LEVEL: ["IMAGE "], PATIENT: ["P1"], STUDY: ["1.2"], SERIES: ["1.3"], INSTANCE: ["1.4", "1.5"]}
    assert retrieve_keys(Root.PATIENT, values) == RetrieveKeys(
        level=Level.IMAGE,
        patient_id="P1",
        study_instance_uids=("1.2",),
        series_instance_uids=("1.3",),
        sop_instance_uids=("1.4", "1.5"),
    )


def test_a_patient_is_no_key_of_the_study_root():
    keys = retrieve_keys(Root.STUDY, {LEVEL: ["STUDY"], PATIENT: ["OTHER"], STUDY: ["1.2"]})
    assert keys.patient_id == ""


@pytest.mark.parametrize(
    ("root", "values", "reason"),
    [
        (Root.STUDY, {STUDY: ["1.2"]}, "(0008,0052)"),
        (Root.STUDY, {LEVEL: ["PATIENT"], PATIENT: ["P1"]}, "(0008,0052)"),
        (Root.STUDY, {LEVEL: ["FRAME"], STUDY: ["1.2"]}, "(0008,0052)"),
        (Root.STUDY, {LEVEL: ["STUDY"]}, "(0020,000D) is absent"),
        (Root.STUDY, {LEVEL: ["STUDY"], STUDY: [""]}, "(0020,000D) is absent"),
        (Root.STUDY, {LEVEL: ["STUDY"], STUDY: ["1.2.*"]}, "(0020,000D) is no UID"),
        (Root.STUDY, {LEVEL: ["SERIES"], SERIES: ["1.3"]}, "(0020,000D) is absent"),
        (Root.STUDY, {LEVEL: ["SERIES"], STUDY: ["1.2", "1.3"], SERIES: ["1.4"]}, "several values"),
        (Root.PATIENT, {LEVEL: ["STUDY"], STUDY: ["1.2"]}, "(0010,0020) is absent"),
        (Root.PATIENT, {LEVEL: ["PATIENT"], PATIENT: ["P1", "P2"]}, "several values"),
    ],
)
def test_what_is_no_identifier_of_its_sop_class_is_refused_with_the_reason(root, values, reason):
    with pytest.raises(IdentifierMismatch) as refused:
        retrieve_keys(root, values)
    assert reason in str(refused.value)
