"""Orders and corrections of patients are read from messages of HL7 v2."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_source.domain.orders import OrderedStudy, OrderState, PatientIdentifier, decode
from shared.hl7v2.message import MessageRefused
from shared.imaging.instance import Issuer
from tests.support.orders import adt, mdm, omi, orm, oru

OPEN, COMPLETED, CANCELLED = OrderState.OPEN, OrderState.COMPLETED, OrderState.CANCELLED
REPORTED = OrderState.REPORTED


def test_an_order_of_hl7_2_5_1_names_its_study_by_ipc():
    message = decode(omi(control="XO", status="CM", study="2.25.11", accession="ACC1001^RIS^2.999.13^ISO"))

    assert message.orders == (
        OrderedStudy(state=COMPLETED, study_instance_uid="2.25.11", accession_number="ACC1001"),
    )
    assert message.patients == (PatientIdentifier("P-77", "NORTH", "2.999.10.1"),)


def test_an_order_of_hl7_2_3_1_names_it_by_zds_and_obr():
    message = decode(orm(status="CM", study="2.25.11^RIS^Application^DICOM", accession="ACC1001"))

    assert message.orders == (
        OrderedStudy(state=COMPLETED, study_instance_uid="2.25.11", accession_number="ACC1001"),
    )


@pytest.mark.parametrize(
    ("control", "status", "state"),
    [
        ("NW", "SC", OPEN),
        ("NW", "", OPEN),
        ("XO", "SC", OPEN),
        ("XO", "CM", COMPLETED),
        ("SC", "CM", COMPLETED),
        ("SC", "IP", OPEN),
        ("CA", "CA", CANCELLED),
        ("DC", "CA", CANCELLED),
        ("OC", "CA", CANCELLED),
        ("SC", "CA", CANCELLED),
        ("CA", "", CANCELLED),
    ],
)
def test_control_and_status_say_how_an_order_stands(control: str, status: str, state: OrderState):
    assert {one.state for one in decode(orm(control=control, status=status)).orders} == {state}


def test_every_order_of_a_message_counts():
    both = orm(status="CM", accession="A1") + b"ORC|CA|||\rOBR|2||||||||||||||||" + b"|A2\r"

    assert [(one.accession_number, one.state) for one in decode(both).orders] == [
        ("A1", COMPLETED),
        ("A2", CANCELLED),
    ]


def test_a_merge_names_both_patients():
    message = decode(adt("A40", patient="P-77^^^NORTH~N-1^^^NATION", prior="P-78^^^NORTH"))

    assert message.corrects
    assert [one.value for one in message.patients + message.prior] == ["P-77", "N-1", "P-78"]


def test_an_admission_corrects_nobody():
    assert not decode(adt("A01")).corrects


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (oru(), OrderedStudy(state=REPORTED, study_instance_uid="2.25.11")),
        (oru("C", study="", accession="A1"), OrderedStudy(state=REPORTED, accession_number="A1")),
        (
            oru().replace(b"113014^DICOM Study^DCM", b"^Study Instance UID"),
            OrderedStudy(state=REPORTED, study_instance_uid="2.25.11"),
        ),
        (
            oru(study="2.25.11^^Application^DICOM"),
            OrderedStudy(state=REPORTED, study_instance_uid="2.25.11"),
        ),
        (mdm(), OrderedStudy(state=REPORTED, accession_number="ACC1001")),
        (mdm(status=""), OrderedStudy(state=REPORTED, accession_number="ACC1001")),
        (mdm("T10", "AU"), OrderedStudy(state=REPORTED, accession_number="ACC1001")),
    ],
)
def test_a_final_report_names_its_study(octets: bytes, name: OrderedStudy):
    assert decode(octets).orders == (name,)


@pytest.mark.parametrize(
    "octets", [oru("P"), oru("R"), oru(""), oru("X"), mdm(status="PA"), mdm("T11"), mdm("T01")]
)
def test_what_is_no_final_report_says_nothing_of_a_study(octets: bytes):
    assert decode(octets).orders == ()


@pytest.mark.parametrize(
    ("octets", "place", "told"),
    [
        (orm(control="ZZ"), "ORC-1", "one of"),
        (orm(status="ZZ"), "ORC-5", "one of"),
        (orm(study="", accession=""), "IPC-3", "accession number in IPC-1 or OBR-18"),
        (orm(study="1.2.abc"), "ZDS-1", "Study Instance UID"),
        (omi(study="1.2.abc"), "IPC-3", "Study Instance UID"),
        (orm(patient=""), "PID-3", "PID-3"),
        (orm(patient='""'), "PID-3", "PID-3"),
        (orm().replace(b"ORC|", b"ZRC|"), "ORC", "one ORC"),
        (orm().replace(b"ORM^O01", b"SIU^S12"), "MSH-9", "ADT, OMG, OMI, ORM, MDM, ORU"),
        (oru(study="", accession=""), "IPC-3", "accession number in IPC-1 or OBR-18"),
        (oru().replace(b"OBR|", b"ZBR|"), "OBR", "one OBR"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(octets: bytes, place: str, told: str):
    with pytest.raises(MessageRefused, match=told) as refused:
        decode(octets)

    assert refused.value.place == place
    assert refused.value.header.control_id == "C1"


@pytest.mark.parametrize(
    ("identifier", "issuer", "same"),
    [
        (PatientIdentifier("P1"), Issuer(), True),
        (PatientIdentifier("P1", "NORTH"), Issuer(), True),
        (PatientIdentifier("P1"), Issuer("NORTH"), True),
        (PatientIdentifier("P1", "NORTH"), Issuer("NORTH"), True),
        (PatientIdentifier("P1", "SOUTH"), Issuer("NORTH"), False),
        (PatientIdentifier("P1", "NORTH", "2.999.1"), Issuer("NORTH", "2.999.2", "ISO"), False),
        (PatientIdentifier("P1", "SOUTH", "2.999.1"), Issuer("NORTH", "2.999.1", "ISO"), True),
        (PatientIdentifier("P2"), Issuer(), False),
    ],
)
def test_a_patient_is_compared_as_far_as_both_say_who_issued_the_id(
    identifier: PatientIdentifier, issuer: Issuer, same: bool
):
    assert identifier.may_be("P1", issuer) is same


@given(st.binary(max_size=400))
def test_whatever_stands_behind_a_header_is_read_or_refused(rest: bytes):
    with suppress(MessageRefused):
        assert decode(orm() + rest).orders
