"""WADO-RS as a client meets it: HTTP in, HTTP out (imaging dossier 9 and 22)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import httpx2
import pydicom
import pytest

from imaging_source.transactions import rad68
from shared.audit.events import Outcome
from shared.audit.recorder import AuditUnavailable
from shared.dicom.uids import EXPLICIT_LE, JPEG_BASELINE, JPEG_LOSSLESS_SV1, JPEG_LS_LOSSLESS, RLE
from shared.settings import AssertionSettings, XuaMode
from tests.support.certificates import AUDIENCE, assertion_for, bearer, communities
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.imaging_source import (
    BASE,
    Source,
    a_rejection_note,
    close_source,
    cx,
    database_place,
    either_source,
    open_source,
    postgres_url,
    source,
)
from tests.support.made_studies import Studies, studies

__all__ = ["database_place", "either_source", "postgres_url", "source", "studies"]

STUDY = "/dicomweb/studies/2.25.11"
SERIES = f"{STUDY}/series/2.25.12"
INSTANCE = f"{SERIES}/instances/2.25.13"
MULTIPART = 'multipart/related; type="application/dicom"'


async def get(source: Source, path: str, accept: str | None = MULTIPART, **headers: str) -> httpx2.Response:
    source.recorder.taken()
    async with source.client() as client:
        if accept is None:
            del client.headers["accept"]
        else:
            headers["accept"] = accept
        return await client.get(path, headers=headers)


def parts(response: httpx2.Response) -> list[tuple[dict[str, str], bytes]]:
    """The parts of a multipart answer, read by the standard library."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + response.content, policy=email.policy.compat32)
    return [(dict(part.items()), part.get_payload(decode=True)) for part in message.get_payload()]


def syntaxes(response: httpx2.Response) -> list[str]:
    return [
        str(pydicom.dcmread(BytesIO(octets)).file_meta.TransferSyntaxUID) for _, octets in parts(response)
    ]


# --- resources ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE])
async def test_a_resource_comes_back_byte_for_byte(either_source, path):
    (kept,) = await either_source.keep(a_ct())

    response = await get(either_source, path)

    assert response.status_code == 200
    assert response.headers["content-type"].startswith(
        'multipart/related; type="application/dicom"; boundary='
    )
    ((headers, octets),) = parts(response)
    assert headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert headers["Content-Location"] == BASE + INSTANCE
    assert octets == kept.path.read_bytes()
    assert int(response.headers["content-length"]) == len(response.content)


async def test_a_series_is_its_instances_and_a_study_all_of_them(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"), an_sr(SeriesInstanceUID="2.25.20"))

    assert len(parts(await get(source, STUDY))) == 3
    assert len(parts(await get(source, SERIES))) == 2
    assert len(parts(await get(source, INSTANCE))) == 1


async def test_the_body_ends_with_the_closing_delimiter(source):
    await source.keep(a_ct())

    response = await get(source, STUDY)

    boundary = response.headers["content-type"].partition("boundary=")[2].strip('"')
    assert response.content.endswith(f"\r\n--{boundary}--\r\n".encode())


@pytest.mark.parametrize(
    "path",
    [
        "/dicomweb/studies/2.25.404",
        f"{STUDY}/series/2.25.404",
        f"{SERIES}/instances/2.25.404",
        "/dicomweb/studies/2.25.404/series/2.25.12",
        f"{STUDY}/series/2.25.404/instances/2.25.13",
        "/dicomweb/studies/2.25.404/metadata",
    ],
)
async def test_what_is_not_there_is_not_found(source, path):
    await source.keep(a_ct())

    response = await get(source, path, "*/*")

    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["/dicomweb/studies/no-uid", f"{STUDY}/series/1.2.x", f"{SERIES}/instances/%20", f"{STUDY}/series/1..2"],
)
async def test_a_path_without_uids_is_a_bad_request(source, path):
    assert (await get(source, path)).status_code == 400


# --- negotiation -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accept", [None, "*/*", "multipart/related", "multipart/related; type=application/dicom"]
)
async def test_who_asks_for_nothing_special_gets_the_default(source, accept):
    await source.keep(a_ct())

    response = await get(source, STUDY, accept)

    assert response.status_code == 200
    assert len(parts(response)) == 1


async def test_one_instance_may_be_a_single_part(source):
    (kept,) = await source.keep(a_ct())

    response = await get(source, INSTANCE, "application/dicom")

    assert response.content == kept.path.read_bytes()
    assert response.headers["content-type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"


@pytest.mark.parametrize("path", [STUDY, SERIES])
async def test_a_study_is_no_single_part_even_with_one_instance(source, path):
    await source.keep(a_ct())

    response = await get(source, path, "application/dicom")

    assert response.status_code == 406
    assert "multipart/related" in response.json()["detail"]


async def test_the_query_parameter_chooses(source):
    (kept,) = await source.keep(a_ct())

    response = await get(source, f"{INSTANCE}?accept=application%2Fdicom", "*/*")

    assert response.content == kept.path.read_bytes()


@pytest.mark.parametrize(
    "query", ["application/dicom+json", "application%2Fdicom%2Bjson", "application/json"]
)
async def test_a_plus_sign_in_the_query_parameter_is_a_plus_sign(source, query):
    await source.keep(a_ct())
    response = await get(source, f"{INSTANCE}/metadata?accept={query}", "*/*")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/dicom+json")


async def test_a_query_of_too_many_parameters_is_a_bad_request(source):
    response = await get(source, f"{INSTANCE}/metadata?{'&'.join(['a=1'] * 51)}", "*/*")
    assert response.status_code == 400


async def test_a_malformed_accept_is_a_bad_request(source):
    await source.keep(a_ct())

    assert (await get(source, STUDY, "nonsense")).status_code == 400


async def test_lossless_pixels_are_decoded_unless_a_syntax_is_asked_for(source):
    await source.keep(a_multi_frame(), syntax=JPEG_LS_LOSSLESS)

    assert syntaxes(await get(source, STUDY)) == [EXPLICIT_LE]
    assert syntaxes(await get(source, STUDY, f"{MULTIPART}; transfer-syntax=*")) == [JPEG_LS_LOSSLESS]
    assert syntaxes(await get(source, STUDY, f"{MULTIPART}; transfer-syntax={JPEG_LS_LOSSLESS}")) == [
        JPEG_LS_LOSSLESS
    ]


async def test_the_part_says_the_syntax_that_its_file_has(source):
    await source.keep(a_multi_frame())

    response = await get(source, STUDY, f"{MULTIPART}; transfer-syntax={RLE}")

    ((headers, _),) = parts(response)
    assert headers["Content-Type"].endswith(f"transfer-syntax={RLE}")
    assert syntaxes(response) == [RLE]


async def test_an_impossible_syntax_is_not_acceptable(source):
    await source.keep(a_ct())

    response = await get(source, STUDY, f"{MULTIPART}; transfer-syntax={JPEG_BASELINE}")

    assert response.status_code == 406


async def test_what_is_possible_for_some_is_partial_content(source):
    await source.keep(a_ct(), a_video())

    response = await get(source, STUDY, f"{MULTIPART}; transfer-syntax={EXPLICIT_LE}")

    assert response.status_code == 206
    assert len(parts(response)) == 1


async def test_video_is_given_as_it_is_stored_to_who_asks_for_no_syntax(source):
    octets = a_video()
    await source.keep(octets)

    response = await get(source, STUDY)

    assert response.status_code == 200
    assert parts(response)[0][1] == octets


def undecodable() -> bytes:
    """A compressed image that no decoder reads."""
    made = a_multi_frame(SOPInstanceUID="2.25.62", SeriesInstanceUID="2.25.63")
    made.PixelData = pydicom.encaps.encapsulate([b"no JPEG-LS"] * 3)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    return part10(made, JPEG_LS_LOSSLESS, compress=False)


async def test_jpeg_is_decoded_in_the_process_that_does_it(source, studies: Studies):
    path = studies.variant(JPEG_LOSSLESS_SV1)[0]
    plain = studies.plain_twin(path)
    (kept,) = await source.keep(path)

    response = await get(source, f"/dicomweb/studies/{kept.study_instance_uid}")

    ((_, octets),) = parts(response)
    assert pydicom.dcmread(BytesIO(octets)).PixelData == pydicom.dcmread(plain).PixelData


@pytest.mark.parametrize("accept", [MULTIPART, None, "*/*"])
async def test_what_cannot_be_decoded_is_given_as_it_is_stored_to_who_asks_for_no_syntax(source, accept):
    octets = undecodable()
    await source.keep(octets, a_multi_frame(), syntax=JPEG_LS_LOSSLESS)

    response = await get(source, STUDY, accept)

    assert response.status_code == 200
    assert sorted(syntaxes(response)) == [EXPLICIT_LE, JPEG_LS_LOSSLESS]
    assert octets in [part for _, part in parts(response)]
    assert [event.outcome for event in source.recorder.taken()] == [Outcome.SUCCESS]


async def test_and_is_not_acceptable_to_who_asks_for_another(source):
    await source.keep(undecodable())

    response = await get(source, STUDY, f"{MULTIPART}; transfer-syntax={EXPLICIT_LE}")

    assert response.status_code == 406
    assert "transfer-syntax=* gives what is stored" in response.text


def a_video() -> bytes:
    """A video whose frames nobody looks at."""
    made = a_multi_frame(SOPInstanceUID="2.25.60", SeriesInstanceUID="2.25.61")
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    made.PixelData = pydicom.encaps.encapsulate([b"video"])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True
    file = BytesIO()
    made.save_as(file, enforce_file_format=True)
    return file.getvalue()


# --- metadata ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "number"), [(STUDY, 3), (SERIES, 2), (INSTANCE, 1)])
async def test_metadata_is_one_array_of_dicom_json(source, path, number):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"), an_sr(SeriesInstanceUID="2.25.20"))

    response = await get(source, f"{path}/metadata", "application/dicom+json")

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    found = response.json()
    assert len(found) == number
    assert found[0]["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert list(found[0]) == sorted(found[0])


async def test_pixels_are_a_uri_in_metadata(source):
    await source.keep(a_ct())

    (found,) = (await get(source, f"{INSTANCE}/metadata", "*/*")).json()

    assert found["7FE00010"]["BulkDataURI"] == f"{BASE}{INSTANCE}/bulkdata/7FE00010"
    assert "00020010" not in found


async def test_metadata_is_given_as_json_alone(source):
    await source.keep(a_ct())

    assert (await get(source, f"{STUDY}/metadata", "text/html")).status_code == 406


# --- caching -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STUDY, f"{STUDY}/metadata"])
async def test_what_has_not_changed_is_not_sent_again(source, path):
    await source.keep(a_ct())
    first = await get(source, path, "*/*")

    again = await get(source, path, "*/*", **{"if-none-match": first.headers["etag"]})
    await source.keep(a_ct(SOPInstanceUID="2.25.15"))
    grown = await get(source, path, "*/*", **{"if-none-match": first.headers["etag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert grown.status_code == 200
    assert first.headers["cache-control"] == "private, no-cache"


async def test_a_copy_is_of_no_use_to_who_is_refused(source):
    await source.keep(a_ct())
    etag = (await get(source, STUDY)).headers["etag"]
    source.consent.refused = frozenset({cx("P1")})

    assert (await get(source, STUDY, MULTIPART, **{"if-none-match": etag})).status_code == 404


# --- consent and rejection ---------------------------------------------------------------------------


@pytest.mark.parametrize("path", [STUDY, SERIES, INSTANCE, f"{STUDY}/metadata", f"{INSTANCE}/metadata"])
async def test_a_refusal_looks_like_nothing_there(source, path):
    absent = await get(source, "/dicomweb/studies/2.25.404", "*/*")
    await source.keep(a_ct())
    source.consent.refused = frozenset({cx("P1")})

    refused = await get(source, path, "*/*")

    assert (refused.status_code, refused.content) == (404, absent.content)
    assert dict(refused.headers) == dict(absent.headers)


async def test_a_refusal_is_asked_before_any_negotiation_of_pixels(source):
    await source.keep(a_ct())
    source.consent.refused = frozenset({cx("P1")})

    response = await get(source, STUDY, f"{MULTIPART}; transfer-syntax={JPEG_BASELINE}")

    assert response.status_code == 404


async def test_the_trail_knows_of_the_refusal(source):
    await source.keep(a_ct())
    source.consent.refused = frozenset({cx("P1")})

    await get(source, STUDY)

    (event,) = source.recorder.taken()
    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert event.outcome_description == "refused by consent: policy opt-out"
    assert event.objects[0].object_id == cx("P1")


async def test_consent_is_asked_for_the_patient_of_the_publication(source):
    await source.keep(a_ct())
    await rad68.publish(source.parts, "2.25.11", "M7")

    await get(source, STUDY)

    assert {resource.patient_id for _, resource in source.consent.asked} == {cx("M7")}


async def test_a_rejected_instance_is_not_found_and_left_out(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"), a_rejection_note())

    assert (await get(source, INSTANCE)).status_code == 404
    assert len(parts(await get(source, STUDY))) == 1


# --- the trail ---------------------------------------------------------------------------------------


async def test_a_transfer_is_recorded_before_it_is_sent(source):
    await source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.15"))

    await get(source, STUDY)

    (event,) = source.recorder.taken()
    assert (event.event_id.code, event.action, event.outcome) == ("110104", "R", Outcome.SUCCESS)
    assert [kind.code for kind in event.event_types] == ["RAD-107"]
    patient, study = event.objects
    assert (patient.object_id, study.object_id) == (cx("P1"), "2.25.11")
    assert study.sop_classes == (("1.2.840.10008.5.1.4.1.1.2", 2),)
    server, client = event.participants
    assert server.user_id == BASE + STUDY
    assert (client.user_id, client.network_id, client.requestor) == ("127.0.0.1", "127.0.0.1", True)


async def test_what_is_not_there_is_a_minor_failure(source):
    await get(source, "/dicomweb/studies/2.25.404")

    (event,) = source.recorder.taken()
    assert event.outcome is Outcome.MINOR_FAILURE
    assert event.objects[0].object_id == "2.25.404"


async def test_nothing_is_answered_that_cannot_be_recorded(source, monkeypatch):
    await source.keep(a_ct())

    async def refuse(_):
        raise AuditUnavailable("full")

    monkeypatch.setattr(source.recorder, "record", refuse)
    response = await get(source, STUDY)

    assert response.status_code == 503
    assert "retry-after" in response.headers


async def test_a_file_that_is_gone_is_not_a_broken_answer(source):
    (kept,) = await source.keep(a_ct())
    kept.path.unlink()

    response = await get(source, STUDY)

    assert response.status_code == 500
    assert "cannot be read" in response.json()["detail"]


async def test_a_broken_answer_is_recorded_a_second_time(source):
    await source.keep(a_ct())
    source.recorder.taken()
    scope = {
        "type": "http",
        "method": "GET",
        "path": STUDY,
        "raw_path": STUDY.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"accept", b"*/*")],
        "client": ("127.0.0.1", 1),
        "server": ("source.example", 80),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.body":
            raise OSError("the connection is gone")

    with pytest.raises(OSError, match="gone"):
        await source.service.asgi(scope, receive, send)

    assert [event.outcome for event in source.recorder.taken()] == [Outcome.SUCCESS, Outcome.SERIOUS_FAILURE]


# --- users -------------------------------------------------------------------------------------------


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[Source]:
    """A source that answers users of North alone."""
    north = communities()[0]
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    opened = await open_source(
        place,
        tmp_path / "data",
        xua=XuaMode.REQUIRED,
        assertion=AssertionSettings(
            issuers={north.issuer: north.provider.certificate}, audience=AUDIENCE
        ).model_dump(),
    )
    yield opened
    await close_source(opened)


async def test_a_user_is_required_and_told_so(strict):
    await strict.keep(a_ct())

    response = await get(strict, STUDY)

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="xdsi"'
    (failed,) = strict.recorder.taken()
    assert (failed.event_id.code, failed.outcome) == ("110114", Outcome.SERIOUS_FAILURE)
    assert "RAD-107" in failed.outcome_description


async def test_a_clinician_is_let_in_and_named_in_the_trail(strict):
    await strict.keep(a_ct())

    response = await get(strict, STUDY, authorization=f"Bearer {bearer(assertion_for('dr.a'))}")

    assert response.status_code == 200
    (event,) = strict.recorder.taken()
    (human,) = [one for one in event.participants if one.requestor]
    assert "dr.a@" in human.user_id
    assert [code.code for code in event.purposes] == ["TREAT"]


@pytest.mark.parametrize("token", ["nonsense", "aGVsbG8", "a.b.c"])
async def test_a_token_that_is_no_assertion_is_refused(strict, token):
    await strict.keep(a_ct())

    response = await get(strict, STUDY, authorization=f"Bearer {token}")

    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="xdsi", error="invalid_token"'


async def test_an_assertion_of_a_stranger_is_refused(strict):
    await strict.keep(a_ct())
    foreign = assertion_for("dr.b", communities()[1])

    response = await get(strict, f"{STUDY}/metadata", "*/*", authorization=f"Bearer {bearer(foreign)}")

    assert response.status_code == 401


# --- ordinary HTTP -----------------------------------------------------------------------------------


async def test_other_methods_are_not_allowed(source):
    async with source.client() as client:
        response = await client.delete(STUDY)

    assert response.status_code == 405


async def test_answers_are_counted(source):
    await source.keep(a_ct())
    await get(source, STUDY)

    async with source.client() as client:
        metrics = (await client.get("/metrics")).text

    assert 'xdsi_transactions_total{outcome="success",transaction="RAD-107"} 1.0' in metrics
    assert "xdsi_publication_oldest_seconds 0.0" in metrics
