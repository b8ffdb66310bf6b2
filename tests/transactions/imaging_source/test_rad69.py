"""RAD-69 as a consumer meets it: files, index, and the response on the wire (imaging dossier 7 and 22)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from imaging_source.transactions import rad68, rad69
from shared.audit.events import REPOSITORY_UNIQUE_ID, Outcome
from shared.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LS_LOSSLESS,
    RLE,
)
from shared.errors import Actor
from shared.http.pieces import FileRange
from shared.messages.documents import DocumentRequest
from shared.messages.rad69 import (
    MAX_REFERENCES,
    RAD69,
    RetrieveImagingDocumentSetRequest,
    SeriesRequest,
    StudyRequest,
)
from shared.messages.registry import Status
from shared.perform import outcome_of, perform
from shared.security.caller import Caller, Node, User
from shared.xml import parse
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.imaging_source import (
    LOCATION_UID,
    Source,
    a_rejection_note,
    cx,
    database_place,
    either_source,
    postgres_url,
    source,
)

__all__ = ["database_place", "either_source", "postgres_url", "source"]

STUDY, SERIES, INSTANCE = "2.25.11", "2.25.12", "2.25.13"
HOME = "urn:oid:1.2.3.900"
RADIOLOGIST = Caller(
    node=Node(address="192.0.2.17", subject="CN=viewer"),
    endpoint="https://source.example/xds/imaging-source",
    user=User(name_id="u-1", issuer="https://idp.example", assertion_id="_1"),
)


@dataclass(frozen=True)
class Ref:
    """One reference of a request, right in every respect unless a test says otherwise."""

    sop: str = INSTANCE
    series: str = SERIES
    study: str = STUDY
    repository: str = LOCATION_UID
    home: str = ""


def a_request(*refs: Ref, syntaxes=(EXPLICIT_LE,)) -> RetrieveImagingDocumentSetRequest:
    return RetrieveImagingDocumentSetRequest(
        studies=tuple(
            StudyRequest(
                study_instance_uid=ref.study,
                series=(
                    SeriesRequest(
                        series_instance_uid=ref.series,
                        documents=(
                            DocumentRequest(
                                repository_unique_id=ref.repository,
                                document_unique_id=ref.sop,
                                home_community_id=ref.home,
                            ),
                        ),
                    ),
                ),
            )
            for ref in refs
        ),
        transfer_syntax_uids=tuple(syntaxes),
    )


async def retrieve(source: Source, *refs: Ref, syntaxes=(EXPLICIT_LE,), caller=RADIOLOGIST):
    source.recorder.taken()
    request = a_request(*(refs or (Ref(),)), syntaxes=syntaxes)
    return await perform(rad69.SERVED, source.service.unit, request, caller, source.recorder)


def octets(document) -> bytes:
    content = document.content
    assert isinstance(content, FileRange)
    with Path(content.path).open("rb") as file:
        file.seek(content.offset)
        return file.read(content.length)


def codes(response) -> list[str]:
    return [error.code_for(Actor.REPOSITORY) for error in response.errors]


# --- delivery ----------------------------------------------------------------------------------------


async def test_an_instance_comes_back_byte_for_byte(either_source):
    (kept,) = await either_source.keep(a_ct())

    response = await retrieve(either_source)

    (document,) = response.documents
    assert response.status is Status.SUCCESS
    assert octets(document) == kept.path.read_bytes()
    assert (document.document_unique_id, document.repository_unique_id) == (INSTANCE, LOCATION_UID)
    assert document.mime_type == "application/dicom"


@pytest.mark.parametrize("home", ["", HOME])
async def test_the_home_community_is_echoed(source, home):
    await source.keep(a_ct())

    response = await retrieve(source, Ref(home=home))

    assert response.documents[0].home_community_id == home


async def test_the_response_is_what_the_standard_wants_on_the_wire(source):
    await source.keep(a_ct())

    body = RAD69.encode_response(await retrieve(source, Ref(), Ref(sop="2.25.99")))

    element = parse(body.xml)
    assert element.tag == "{urn:ihe:iti:xds-b:2007}RetrieveDocumentSetResponse"
    assert "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess" in body.xml.decode()
    assert b'location="2.25.99"' in body.xml
    assert len(body.attachments) == 1
    assert RAD69.response_action == "urn:ihe:iti:2007:RetrieveDocumentSetResponse"


async def test_what_is_asked_for_twice_comes_once(source):
    await source.keep(a_ct())

    response = await retrieve(source, Ref(), Ref(), Ref(sop="2.25.99"), Ref(sop="2.25.99"))

    assert len(response.documents) == 1
    assert len(response.errors) == 1


async def test_identifiers_of_the_instances_stay_as_they_are(source):
    await source.keep(a_multi_frame(), syntax=JPEG_LS_LOSSLESS)

    response = await retrieve(source)

    given = pydicom.dcmread(BytesIO(octets(response.documents[0])))
    assert (given.PatientID, given.AccessionNumber, given.StudyInstanceUID) == ("P1", "A123", STUDY)
    assert (given.SeriesInstanceUID, given.SOPInstanceUID) == (SERIES, INSTANCE)


# --- transfer syntaxes -------------------------------------------------------------------------------


@pytest.mark.parametrize("stored", [EXPLICIT_LE, IMPLICIT_LE, RLE, DEFLATED_LE])
async def test_a_listed_syntax_is_given_as_it_is_stored(source, stored):
    (kept,) = await source.keep(a_ct(), syntax=stored)

    response = await retrieve(source, syntaxes=(JPEG_BASELINE, stored))

    assert octets(response.documents[0]) == kept.path.read_bytes()


async def test_a_compressed_instance_is_decoded_for_who_lists_explicit_little_endian(source):
    await source.keep(a_multi_frame(), syntax=JPEG_LS_LOSSLESS)

    response = await retrieve(source)

    given = pydicom.dcmread(BytesIO(octets(response.documents[0])))
    assert given.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert given.PixelData == a_multi_frame().PixelData


async def test_an_unknown_syntax_beside_a_usable_one_is_ignored(source):
    await source.keep(a_ct())

    response = await retrieve(source, syntaxes=("1.2.3.4", EXPLICIT_LE))

    assert response.status is Status.SUCCESS


@pytest.mark.parametrize("syntaxes", [(), ("1.2.3.4",), ("no uid",), ("*",), (JPEG_BASELINE,)])
async def test_without_a_possible_syntax_there_is_an_error_and_no_document(source, syntaxes):
    await source.keep(a_ct())

    response = await retrieve(source, syntaxes=syntaxes)

    assert response.status is Status.FAILURE
    assert codes(response) == ["XDSRepositoryError"]
    assert response.errors[0].location == INSTANCE


async def test_a_report_is_given_to_who_lists_compressed_syntaxes_only(source):
    await source.keep(an_sr())

    response = await retrieve(source, Ref(sop="2.25.14"), syntaxes=(JPEG_2000_LOSSLESS,))

    assert response.status is Status.SUCCESS


# --- what is not delivered ---------------------------------------------------------------------------

NEGATIVE = {
    "a wrong repository": (Ref(repository="1.2.3"), "XDSUnknownRepositoryId"),
    "an unknown instance": (Ref(sop="2.25.99"), "XDSDocumentUniqueIdError"),
    "an instance of another series": (Ref(series="2.25.98"), "XDSDocumentUniqueIdError"),
    "an instance of another study": (Ref(study="2.25.97"), "XDSDocumentUniqueIdError"),
    "an empty study": (Ref(study=""), "XDSRepositoryError"),
    "an empty series": (Ref(series=""), "XDSRepositoryError"),
    "both empty": (Ref(study="", series=""), "XDSRepositoryError"),
    "a UID that is a path": (Ref(sop=".."), "XDSRepositoryError"),
    "a UID with an empty component": (Ref(study="2.25..11"), "XDSRepositoryError"),
    "no UID at all": (Ref(sop="../../etc/passwd"), "XDSRepositoryError"),
}


@pytest.mark.parametrize(("ref", "code"), NEGATIVE.values(), ids=NEGATIVE)
async def test_a_wrong_request_is_answered_with_its_error(source, ref, code):
    await source.keep(a_ct())

    response = await retrieve(source, ref)

    assert response.status is Status.FAILURE
    assert codes(response) == [code]
    assert response.errors[0].location == ref.sop
    assert response.documents == ()


async def test_right_and_wrong_study_of_one_instance_are_told_apart(either_source):
    await either_source.keep(a_ct())

    response = await retrieve(either_source, Ref(study="2.25.97"), Ref())

    assert response.status is Status.PARTIAL_SUCCESS
    assert codes(response) == ["XDSDocumentUniqueIdError"]


async def test_as_many_references_as_the_limit_are_answered(source):
    await source.keep(a_ct())

    response = await retrieve(source, *(Ref(sop=f"2.25.{number}") for number in range(MAX_REFERENCES)))

    assert len(response.documents) == 1
    assert len(response.errors) == MAX_REFERENCES - 1


async def test_a_file_that_lost_bytes_is_an_error_and_not_a_broken_answer(source):
    (kept,) = await source.keep(a_ct())
    kept.path.chmod(0o600)
    kept.path.write_bytes(kept.path.read_bytes()[:-1])

    response = await retrieve(source)

    assert codes(response) == ["XDSRepositoryError"]


async def test_pixels_that_cannot_be_decoded_are_an_error_of_their_instance_alone(source):
    broken = pydicom.dcmread(BytesIO(part10(a_multi_frame(SOPInstanceUID="2.25.20"), JPEG_LS_LOSSLESS)))
    broken.PixelData = pydicom.encaps.encapsulate([b"no JPEG-LS"] * 3)
    file = BytesIO()
    broken.save_as(file)
    await source.keep(file.getvalue(), a_ct())

    response = await retrieve(source, Ref(sop="2.25.20"), Ref())

    assert response.status is Status.PARTIAL_SUCCESS
    assert codes(response) == ["XDSRepositoryError"]


# --- consent and rejection ---------------------------------------------------------------------------


async def test_a_refused_instance_is_answered_as_one_that_does_not_exist(source):
    await source.keep(a_ct())
    absent = await retrieve(source, Ref(sop="2.25.99"))
    source.consent.refused = frozenset({cx("P1")})

    refused = await retrieve(source)

    assert codes(refused) == codes(absent)
    assert refused.errors[0].context.replace(INSTANCE, "2.25.99") == absent.errors[0].context
    assert refused.status is absent.status


async def test_the_patient_is_the_one_for_whom_the_study_is_published(either_source):
    await either_source.keep(a_ct())
    await rad68.publish(either_source.parts, STUDY, "M7")

    await retrieve(either_source)

    ((action, resource),) = either_source.consent.asked
    assert action == "retrieve"
    assert resource.patient_id == cx("M7")
    assert resource.confidentiality == {"N^^2.16.840.1.113883.5.25"}


async def test_an_instance_of_another_patient_in_a_published_study_is_not_given_for_it(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, STUDY, "M7")
    await source.keep(a_ct(SOPInstanceUID="2.25.30", PatientID="P9"))

    response = await retrieve(source, Ref(sop="2.25.30"))

    assert codes(response) == ["XDSDocumentUniqueIdError"]
    assert source.consent.asked == []


async def test_a_patient_of_a_foreign_domain_is_refused_until_the_study_is_published(source):
    await source.keep(a_ct(IssuerOfPatientID="ELSEWHERE"))

    before = await retrieve(source)
    await rad68.publish(source.parts, STUDY, "M7")
    after = await retrieve(source)

    assert codes(before) == ["XDSDocumentUniqueIdError"]
    assert after.status is Status.SUCCESS


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
async def test_a_rejected_instance_and_its_note_are_not_there(either_source, title):
    await either_source.keep(a_ct(), a_rejection_note(title))

    response = await retrieve(either_source, Ref(), Ref(sop="2.25.40", series="2.25.41"))

    assert codes(response) == ["XDSDocumentUniqueIdError"] * 2


async def test_a_key_image_note_rejects_nothing(source):
    await source.keep(a_ct(), a_rejection_note("113000"))

    response = await retrieve(source, Ref(), Ref(sop="2.25.40", series="2.25.41"))

    assert response.status is Status.SUCCESS


# --- the trail ---------------------------------------------------------------------------------------


async def test_delivery_is_one_event_with_patient_study_and_counts(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"), an_sr())
    await retrieve(source, Ref(home=HOME), Ref(sop="2.25.15", home=HOME), Ref(sop="2.25.14", home=HOME))

    (event,) = source.recorder.taken()
    assert event.event_id.code == "110104"
    assert (event.action, event.outcome) == ("R", Outcome.SUCCESS)
    assert [kind.code for kind in event.event_types] == ["RAD-69"]
    patient, study = event.objects
    assert patient.object_id == cx("P1")
    assert study.object_id == STUDY
    assert study.sop_classes == (
        ("1.2.840.10008.5.1.4.1.1.2", 2),
        ("1.2.840.10008.5.1.4.1.1.88.11", 1),
    )
    assert study.details == (
        (REPOSITORY_UNIQUE_ID, LOCATION_UID.encode()),
        ("ihe:homeCommunityID", HOME.encode()),
    )
    roles = [(one.user_id, [role.code for role in one.roles], one.requestor) for one in event.participants]
    assert roles == [
        ("https://source.example/xds/imaging-source", ["110153"], False),
        ("<u-1@https://idp.example>", [], True),
        ("CN=viewer", ["110152"], False),
    ]


async def test_partial_success_is_two_events(source):
    await source.keep(a_ct())

    await retrieve(source, Ref(), Ref(sop="2.25.99"))

    failed, delivered = sorted(source.recorder.taken(), key=lambda event: -event.outcome)
    assert (failed.outcome, delivered.outcome) == (Outcome.SERIOUS_FAILURE, Outcome.SUCCESS)
    assert ("ihe:DocumentUniqueId", b"2.25.99") in failed.objects[0].details
    assert failed.outcome_description == "XDSDocumentUniqueIdError"


async def test_a_refusal_names_the_patient_and_the_policy_in_the_trail_alone(source):
    await source.keep(a_ct())
    source.consent.refused = frozenset({cx("P1")})

    response = await retrieve(source)

    (event,) = source.recorder.taken()
    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert event.objects[0].object_id == cx("P1")
    assert event.outcome_description == "refused by consent: policy opt-out"
    assert b"opt-out" not in RAD69.encode_response(response).xml


async def test_two_patients_are_two_events(source):
    other = a_ct(
        StudyInstanceUID="2.25.50", SeriesInstanceUID="2.25.51", SOPInstanceUID="2.25.52", PatientID="P2"
    )
    await source.keep(a_ct(), other)

    await retrieve(source, Ref(), Ref(sop="2.25.52", series="2.25.51", study="2.25.50"))

    assert sorted(event.objects[0].object_id for event in source.recorder.taken()) == [cx("P1"), cx("P2")]


async def test_many_failures_stay_one_record_of_bounded_size(source):
    await retrieve(source, *(Ref(sop=f"2.25.{number}") for number in range(1_000)))

    (event,) = source.recorder.taken()
    named = [value for name, value in event.objects[0].details if name == "ihe:DocumentUniqueId"]
    assert len(named) == 200


def test_a_request_that_came_to_nothing_is_described_by_itself():
    (event,) = rad69.audit(a_request(Ref()), None, RADIOLOGIST, Outcome.SERIOUS_FAILURE)

    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert event.objects[0].object_id == STUDY


async def test_the_outcome_of_a_response_follows_its_errors(source):
    await source.keep(a_ct())

    assert outcome_of(await retrieve(source)) is Outcome.SUCCESS
    assert outcome_of(await retrieve(source, Ref(sop="2.25.99"))) is Outcome.SERIOUS_FAILURE
