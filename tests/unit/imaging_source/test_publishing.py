"""The metadata of a manifest, attribute by attribute (imaging dossier 5.2 to 5.5)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging_source.domain.coding import Coding, Issuers, NotPublishable
from imaging_source.domain.instance import RequestReference
from imaging_source.domain.publishing import Names, patient_id, replacing, submission, xpn
from shared.ebrim.codec import decode_submission, encode_submission
from shared.ebrim.identifiers import is_cx, is_cxi, is_patient_info, is_xcn, is_xon
from shared.ebrim.model import AssociationType, Code, Timestamp
from shared.imaging.instance import Issuer
from shared.xml import NS, parse
from tests.support.studies import STUDY, a_study_header

DOMAIN = "1.3.6.1.4.1.21367.2005.13.20.1000"
PATIENT = f"M1^^^&{DOMAIN}&ISO"
NAMES = Names(document_unique_id="2.25.1001", submission_set_unique_id="2.25.2001", source_id="1.2.3.31")
CODING = Coding(
    class_code=Code("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images"),
    type_code=Code("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
    content_type_code=Code("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
    facility=Code("22232009", "2.16.840.1.113883.6.96", "Hospital"),
    practice_setting=Code("309964003", "2.16.840.1.113883.6.96", "Radiology"),
    confidentiality=(Code("N", "2.16.840.1.113883.5.25", "normal"),),
)
ISSUERS = Issuers(patient_id="1.2.3.9", accession_number="1.2.3.5", placer_order_number="1.2.3.6")
HOME = Issuers(patient_id=DOMAIN)
DCM = "1.2.840.10008.2.16.4"
SNOMED = "2.16.840.1.113883.6.96"


def a_submission(coding=CODING, zone=UTC, **changes):
    return submission(
        a_study_header(**changes),
        names=NAMES,
        document=b"manifest",
        patient_id=PATIENT,
        created=datetime(2026, 3, 1, 9, 15, tzinfo=UTC),
        coding=coding,
        issuers=ISSUERS,
        zone=zone,
    )


def an_entry(**changes):
    return a_submission(**changes).document_entries[0]


# --- what identifies a manifest ----------------------------------------------------------------------


def test_the_entry_says_that_it_is_a_manifest():
    entry = an_entry()

    assert entry.unique_id == "2.25.1001"
    assert entry.mime_type == "application/dicom"
    assert entry.format_code == Code("1.2.840.10008.5.1.4.1.1.88.59", "1.2.840.10008.2.6.1")
    assert entry.patient_id == PATIENT
    assert entry.size == 8
    assert entry.hash == hashlib.sha1(b"manifest").hexdigest()


def test_the_submission_is_accepted_by_the_codec_of_the_registry():
    octets = encode_submission(
        replacing(
            a_submission(), "urn:uuid:" + "0" * 8 + "-0000-4000-8000-" + "0" * 12, NAMES.replacement_uuid
        )
    )
    declared = octets.replace(
        b"<rim:RegistryObjectList", f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}"'.encode(), 1
    )

    decoded = decode_submission(parse(declared))

    assert decoded.errors == ()
    assert decoded.submission is not None


def test_the_submission_set_and_its_member_are_tied():
    made = a_submission()

    assert made.submission_set.source_id == "1.2.3.31"
    assert made.submission_set.patient_id == PATIENT
    member = made.associations[0]
    assert member.association_type == AssociationType.HAS_MEMBER
    assert (member.source_object, member.target_object) == (NAMES.submission_set_uuid, NAMES.entry_uuid)


def test_a_replacement_points_from_the_new_entry_to_the_old_one():
    made = replacing(a_submission(), "urn:uuid:old", NAMES.replacement_uuid)

    replacement = made.associations[-1]
    assert replacement.association_type == AssociationType.RPLC
    assert (replacement.source_object, replacement.target_object) == (NAMES.entry_uuid, "urn:uuid:old")


# --- the patient -------------------------------------------------------------------------------------


def test_the_department_of_the_affinity_domain_needs_no_other_id():
    assert patient_id(a_study_header(), HOME, DOMAIN) == f"P1^^^&{DOMAIN}&ISO"
    assert patient_id(a_study_header(issuer_of_patient_id=Issuer("", DOMAIN, "ISO")), HOME, DOMAIN) == (
        f"P1^^^&{DOMAIN}&ISO"
    )


@pytest.mark.parametrize("given_id", [PATIENT, "M1"])
def test_a_given_id_stands_before_that_of_the_study(given_id):
    assert patient_id(a_study_header(), HOME, DOMAIN, given_id) == PATIENT


@pytest.mark.parametrize("given_id", ["M1^^^&1.2.3&ISO", "M1^^^HOSP", "M1&2"])
def test_an_id_of_another_domain_is_refused(given_id):
    with pytest.raises(NotPublishable, match="affinity domain"):
        patient_id(a_study_header(), HOME, DOMAIN, given_id)


@pytest.mark.parametrize("issuer", [Issuer("", "1.2.3.9", "ISO"), Issuer("HOSP")])
def test_a_foreign_issuer_is_not_taken_for_the_affinity_domain(issuer):
    foreign = a_study_header(issuer_of_patient_id=issuer)

    with pytest.raises(NotPublishable, match="when publishing"):
        patient_id(foreign, HOME, DOMAIN)


def test_a_department_with_a_domain_of_its_own_needs_the_id_of_the_affinity_domain():
    with pytest.raises(NotPublishable, match=r"1\.2\.3\.9"):
        patient_id(a_study_header(), ISSUERS, DOMAIN)
    assert patient_id(a_study_header(), ISSUERS, DOMAIN, "M1") == PATIENT


def test_a_study_without_patient_needs_one_given():
    with pytest.raises(NotPublishable):
        patient_id(a_study_header(patient_id=""), HOME, DOMAIN)


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_the_id_of_any_department_becomes_a_cx(department_id):
    try:
        found = patient_id(a_study_header(patient_id=department_id), HOME, DOMAIN)
    except NotPublishable:
        return
    assert is_cx(found)


def test_the_source_patient_is_that_of_the_department():
    entry = an_entry()

    assert entry.source_patient_id == "P1^^^&1.2.3.9&ISO"
    assert entry.source_patient_info == (
        "PID-3|P1^^^&1.2.3.9&ISO",
        "PID-5|DOE^JANE^A^PHD^DR",
        "PID-7|19700101",
        "PID-8|F",
    )
    assert all(map(is_patient_info, entry.source_patient_info))


def test_what_is_not_known_of_the_patient_is_left_out():
    entry = an_entry(patient_name="", patient_birth_date="unknown", patient_sex="")

    assert entry.source_patient_info == ("PID-3|P1^^^&1.2.3.9&ISO",)


@pytest.mark.parametrize(
    ("name", "as_xpn"),
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Doe^Jane^A^Dr^PhD", "Doe^Jane^A^PhD^Dr"),
        ("Doe^Jane^^Dr", "Doe^Jane^^^Dr"),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou"),
        ("=山田^太郎", "山田^太郎"),
        ("A&B^C|D", r"A\T\B^C\F\D"),
        ("^^^^", ""),
    ],
)
def test_prefix_and_suffix_change_places(name, as_xpn):
    assert xpn(name) == as_xpn


# --- codes -------------------------------------------------------------------------------------------


def test_each_acquisition_modality_is_one_event():
    entry = an_entry(modalities=("CT", "PT", "SR", "KO", "PR", "CT"), body_parts=())

    assert [(code.value, code.scheme) for code in entry.event_codes] == [("CT", DCM), ("PT", DCM)]
    assert [code.display_name for code in entry.event_codes] == [
        "Computed Tomography",
        "Positron emission tomography",
    ]


def test_the_body_part_becomes_an_anatomic_region():
    entry = an_entry(body_parts=("chest", "HEADNECK", "NOWHERE"))

    assert entry.event_codes[1:] == (Code("816094009", SNOMED), Code("774007", SNOMED))


def test_a_coded_region_stands_before_the_body_part():
    entry = an_entry(anatomic_regions=(Code("80891009", "SCT", "Heart"),))

    assert entry.event_codes[1:] == (Code("80891009", SNOMED),)


def test_a_site_names_body_parts_of_its_own():
    own = Code("1", "1.2.3", "special")
    coding = Coding(
        **{name: getattr(CODING, name) for name in Coding.__slots__ if name != "body_parts"},
        body_parts={"SPECIAL": own},
    )

    assert own in an_entry(coding=coding, body_parts=("SPECIAL",)).event_codes


def test_the_type_is_the_procedure_or_the_fallback():
    procedure = Code("RPID16", "RADLEX", "CT CHEST")

    assert an_entry().type_code == CODING.type_code
    assert an_entry(procedure_codes=(procedure,)).type_code == Code("RPID16", "2.16.840.1.113883.6.256")
    assert an_entry(procedure_codes=(procedure,)).type_code.display_name == "CT CHEST"


def test_a_site_maps_procedures_to_types():
    mapped = Code("24627-2", "2.16.840.1.113883.6.1", "CT chest")
    coding = Coding(
        **{name: getattr(CODING, name) for name in Coding.__slots__ if name != "type_codes"},
        type_codes={"99X:CT2": mapped},
    )

    codes = (Code("CT1", "99X"), Code("CT2", "99X"))

    assert an_entry(coding=coding, procedure_codes=codes).type_code == mapped


# --- references --------------------------------------------------------------------------------------


def test_accession_study_and_order_are_references():
    entry = an_entry(
        accession_numbers=(("A123", Issuer("", "1.2.3.4", "ISO")), ("A124", Issuer())),
        requests=(RequestReference(study_instance_uid=STUDY, placer_order_number="P77"),),
    )

    assert entry.reference_ids == (
        "A123^^^&1.2.3.4&ISO^urn:ihe:iti:xds:2013:accession",
        "A124^^^&1.2.3.5&ISO^urn:ihe:iti:xds:2013:accession",
        f"{STUDY}^^^^urn:ihe:iti:xds:2016:studyInstanceUID",
        "P77^^^&1.2.3.6&ISO^urn:ihe:iti:xds:2013:order",
    )
    assert all(map(is_cxi, entry.reference_ids))


def test_a_local_issuer_is_not_replaced_by_the_configured_one():
    entry = an_entry(accession_numbers=(("A1", Issuer("RIS2")),))

    assert entry.reference_ids[0] == "A1^^^RIS2^urn:ihe:iti:xds:2013:accession"


# --- times and texts ---------------------------------------------------------------------------------


def test_the_study_begins_in_utc():
    assert an_entry().service_start_time == Timestamp("20260228083000")
    assert an_entry(timezone_offset="").service_start_time == Timestamp("20260228093000")
    assert an_entry(timezone_offset="", zone=ZoneInfo("Europe/Vienna")).service_start_time == Timestamp(
        "20260228083000"
    )


@pytest.mark.parametrize(
    ("date", "time", "digits"),
    [
        ("20260228", "0030", "202602272330"),
        ("20260228", "00", "202602272300"),
        ("20260228", "", "20260228"),
        ("20260228", "08:30:00", "20260228073000"),
    ],
)
def test_the_start_has_the_precision_of_the_study(date, time, digits):
    assert an_entry(study_date=date, study_time=time).service_start_time == Timestamp(digits)


def test_a_study_without_date_has_no_start():
    assert an_entry(study_date="").service_start_time is None


def test_creation_is_that_of_the_manifest():
    made = a_submission()

    assert made.document_entries[0].creation_time == Timestamp("20260301091500")
    assert made.submission_set.submission_time == Timestamp("20260301091500")


def test_the_author_is_a_machine_of_the_institution():
    author = an_entry().authors[0]

    assert author.institutions == ("Example Hospital",)
    assert is_xcn(author.person)
    assert is_xon(author.institutions[0])


def test_the_title_is_the_study_description_in_one_line():
    assert an_entry().title == "CT chest"
    assert (
        an_entry(study_description="CT\x07 chest\x1b " + "x" * 200).title == ("CT  chest  " + "x" * 200)[:128]
    )
