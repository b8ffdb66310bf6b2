"""Audit events of what came (RAD-18, RAD-108): patients, studies, actions and failures."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imaging_source.domain.transfer import Fate, Received, Sender, cx, events
from shared.audit.dicom_xml import encode
from shared.audit.events import (
    DESTINATION_ROLE,
    SOURCE_ROLE,
    AuditSource,
    Coded,
    Outcome,
    Participant,
    ihe,
)
from shared.imaging.instance import Issuer
from tests.support.schemas import AUDIT, assert_valid

SENDER = Sender(
    transaction=ihe("RAD-18", "Creator Images Stored"),
    participants=(
        Participant(
            user_id="CT1", requestor=True, roles=(SOURCE_ROLE,), network_id="192.0.2.1", network_type=2
        ),
        Participant(user_id="XDSI", alternative_user_id="7", roles=(DESTINATION_ROLE,)),
    ),
    purposes=(Coded("TREAT", "2.16.840.1.113883.5.8", "treatment"),),
)
MOMENT = datetime(2026, 3, 1, tzinfo=UTC)


def received(**changes) -> Received:
    values = {
        "study_instance_uid": "2.25.11",
        "patient_id": "P1",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "fate": Fate.CREATED,
        "number": 2,
        "last_at": MOMENT,
    }
    return Received(**(values | changes))


def test_one_event_tells_of_a_study_its_patient_and_the_number_of_instances_of_each_class():
    (event,) = events(SENDER, [received(), received(sop_class_uid="1.2.840.10008.5.1.4.1.1.1", number=1)])

    assert event.event_id.code == "110104"
    assert (event.action, event.outcome, event.time) == ("C", Outcome.SUCCESS, MOMENT)
    study, patient = event.objects
    assert (study.object_id, patient.object_id) == ("2.25.11", "P1")
    assert study.sop_classes == (("1.2.840.10008.5.1.4.1.1.1", 1), ("1.2.840.10008.5.1.4.1.1.2", 2))


def test_patients_studies_and_fates_have_events_of_their_own():
    found = list(
        events(
            SENDER,
            [
                received(),
                received(fate=Fate.IDENTICAL),
                received(patient_id="P2"),
                received(study_instance_uid="2.25.12"),
            ],
        )
    )

    assert len(found) == 4
    assert [event.action for event in found].count("R") == 1


def test_what_was_refused_is_a_failure_that_says_how_many():
    (event,) = events(SENDER, [received(fate=Fate.REFUSED, patient_id="", number=3)])

    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert event.outcome_description == "3 instances were refused"


def test_what_could_not_be_read_has_no_study():
    unread = received(fate=Fate.REFUSED, patient_id="", study_instance_uid="", sop_class_uid="")

    (event,) = events(SENDER, [unread])

    assert event.objects == ()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"fate": Fate.IDENTICAL},
        {"fate": Fate.REFUSED, "patient_id": ""},
        {"fate": Fate.REFUSED, "patient_id": "", "study_instance_uid": "", "sop_class_uid": ""},
    ],
)
def test_every_event_is_valid_audit_xml(changes):
    (event,) = events(SENDER, [received(**changes)])

    assert_valid(encode(event, AuditSource(source_id="xdsi-imaging-source")), AUDIT)


def test_a_sender_survives_the_index():
    assert Sender.from_json(SENDER.to_json()) == SENDER


@pytest.mark.parametrize(
    ("patient_id", "issuer", "expected"),
    [
        ("P1", Issuer(), "P1"),
        ("P1", Issuer("HIS"), "P1^^^HIS"),
        ("P1", Issuer("", "1.2.8", "ISO"), "P1^^^&1.2.8&ISO"),
        ("P1", Issuer("HIS", "1.2.8", "ISO"), "P1^^^HIS&1.2.8&ISO"),
        ("a^b&c", Issuer(), "a\\S\\b\\T\\c"),
        ("", Issuer("HIS"), ""),
    ],
)
def test_a_patient_id_is_written_as_cx(patient_id, issuer, expected):
    assert cx(patient_id, issuer) == expected
