from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from audit_repository.domain.accesses import Manner, accesses
from audit_repository.settings import AuditRepositorySettings
from xdsi.audit_client import complete, moment
from xdsi.failures import Failed
from xdsi.listing import plain

NOON = datetime(2030, 5, 4, 12, tzinfo=UTC)


def a_record(
    source="xdsi-registry", at=NOON, event="110112", transaction="ITI-18", outcome=0, human=True, **more
):
    user = {
        "user_id": "<u-778@https://idp>",
        "user_name": "<u-778@https://idp>",
        "name_id": "u-778",
        "requestor": True,
        "roles": [{"code": "RAD", "system": "1", "text": "Radiologist"}],
    }
    node = {"user_id": "CN=viewer", "user_name": "", "name_id": "", "requestor": not human, "roles": []}
    return {
        "sequence": 1,
        "time": at.isoformat(),
        "event": {"code": event, "system": "DCM", "text": ""},
        "types": [{"code": transaction, "system": "IHE Transactions", "text": ""}],
        "outcome": outcome,
        "description": "",
        "refused": False,
        "source": source,
        "standing": "proved",
        "subject": "CN=node",
        "peer": "192.0.2.17",
        "fingerprint": "ab" * 32,
        "purposes": [],
        "participants": [node, user] if human else [node],
        "objects": [{"id": "2.999.5.1", "id_type": {"code": "110180", "system": "DCM", "text": ""}}],
        "patients": ["B"],
    } | more


def test_of_one_exchange_that_the_sides_recorded_under_two_ids_of_a_merged_patient_both_are_told():
    (access,) = accesses([a_record(patients=["A"]), a_record(source="xdsi-consumer")])

    assert access.patients == ("A", "B")


def test_both_sides_of_an_exchange_are_one_access():
    later = NOON + timedelta(seconds=3)
    (access,) = accesses(
        [
            a_record("xdsi-imaging-source", NOON, "110104", "RAD-69"),
            a_record("xdsi-consumer", later, "110103", "RAD-69"),
        ]
    )

    assert access.manner is Manner.SAW
    assert access.who == "<u-778@https://idp>"
    assert access.roles == ("Radiologist",)
    assert access.reported_by == ("xdsi-imaging-source", "xdsi-consumer")


@pytest.mark.parametrize(
    "other",
    [
        {"at": NOON + timedelta(minutes=5)},
        {"transaction": "ITI-43"},
        {"outcome": 8},
        {"objects": [{"id": "another", "id_type": {"code": "110180"}}]},
        {"human": False},
        {"source": "xdsi-registry"},
    ],
)
def test_what_differs_is_another_access(other):
    assert len(accesses([a_record(), a_record(**{"source": "xdsi-consumer"} | other)])) == 2


@pytest.mark.parametrize(
    ("record", "manner"),
    [
        (a_record(), Manner.SEARCHED),
        (a_record(outcome=8), Manner.TRIED),
        (a_record(event="110104", transaction="RAD-107"), Manner.SAW),
        (a_record(event="110106", transaction="ITI-43"), Manner.SAW),
        (a_record(event="110104", transaction="RAD-69", outcome=4), Manner.TRIED),
        (a_record(event="110107", transaction="ITI-42"), Manner.CHANGED),
        (a_record(event="110110", transaction="ITI-8", human=False), Manner.CHANGED),
    ],
)
def test_an_auditor_is_told_seeing_from_searching_trying_and_changing(record, manner):
    (access,) = accesses([record])

    assert access.manner is manner


def test_a_system_without_user_is_told_as_one():
    (access,) = accesses([a_record(human=False)])

    assert not access.human
    assert access.who == "CN=viewer"


def test_a_bare_patient_id_is_of_the_affinity_domain():
    settings = AuditRepositorySettings(affinity_domain="2.999.1")

    assert complete("P1", settings) == "P1^^^&2.999.1&ISO"
    assert complete("P1^^^&2.5&ISO", settings) == "P1^^^&2.5&ISO"
    assert complete("", settings) == ""


def test_times_are_read_as_people_type_them():
    assert moment("2d", "--since", NOON) == NOON - timedelta(days=2)
    assert moment("2030-05-04T14:00:00+02:00", "--since") == NOON
    assert moment("", "--since") is None
    with pytest.raises(Failed, match="--until soon"):
        moment("soon", "--until")


def test_nothing_of_a_record_reaches_the_terminal_as_a_command():
    shown = plain("a\x1b[2Jb\x9bc[bold]d\n\u202ee")

    assert shown == "a\\x1b[2Jb\\x9bc[bold]d\\n\\u202ee"


CLAIMED = {"standing": "claimed", "subject": "CN=south"}
FALSE = {"standing": "mismatched", "subject": "CN=foreign", "fingerprint": "cd" * 32}


def test_a_record_whose_source_is_not_its_node_is_told_apart_and_never_as_that_source():
    (access,) = accesses([a_record(**FALSE)])

    assert access.manner is Manner.DOUBTFUL
    assert access.reported_by == ("NOT xdsi-registry: sent by CN=foreign (SHA-256 cdcdcdcdcdcdcdcd…)",)


def test_it_takes_nothing_from_a_genuine_record_of_the_same_exchange_and_adds_nothing_to_it():
    genuine, false = accesses(
        [
            a_record("xdsi-imaging-source", NOON, "110104", "RAD-69"),
            a_record("xdsi-consumer", NOON, "110103", "RAD-69", **FALSE),
        ]
    )

    assert (genuine.manner, genuine.reported_by) == (Manner.SAW, ("xdsi-imaging-source",))
    assert false.manner is Manner.DOUBTFUL


def test_a_source_that_its_node_alone_names_is_shown_with_the_node():
    (access,) = accesses([a_record("viewer-south", **CLAIMED)])

    assert access.manner is Manner.SEARCHED
    assert access.reported_by == ("viewer-south, claimed by CN=south (SHA-256 abababababababab…)",)


def test_a_record_from_before_nodes_were_compared_is_not_shown_as_proved():
    (access,) = accesses([a_record(standing="unknown", fingerprint="")])

    assert access.reported_by == ("xdsi-registry, as CN=node said; nodes were not compared then",)


def test_a_refusal_is_told_as_such_although_the_side_that_asked_saw_nothing_of_it():
    (access,) = accesses(
        [
            a_record("xdsi-registry", outcome=8, refused=True, description="refused by consent: policy 7"),
            a_record("xdsi-consumer"),
        ]
    )

    assert access.manner is Manner.REFUSED
    assert access.description == "refused by consent: policy 7"
    assert access.reported_by == ("xdsi-registry", "xdsi-consumer")


def test_what_was_shown_in_part_is_told_as_a_search_and_as_a_refusal():
    found = accesses(
        [
            a_record("xdsi-registry"),
            a_record("xdsi-registry", outcome=8, refused=True, description="refused by consent: policy 7"),
            a_record("xdsi-consumer"),
        ]
    )

    assert {access.manner: access.reported_by for access in found} == {
        Manner.SEARCHED: ("xdsi-registry", "xdsi-consumer"),
        Manner.REFUSED: ("xdsi-registry",),
    }
