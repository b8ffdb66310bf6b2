"""Store Instances over the Web [RAD-108]: every status of STOW-RS, its answer, and what stays afterwards."""

from __future__ import annotations

import re
import tracemalloc
from contextlib import asynccontextmanager

import httpx2
import pytest
from lxml import etree

from imaging_source.domain.intake import OUT_OF_RESOURCES, Refused
from imaging_source.domain.stow import reason_of
from imaging_source.store.transfers import find_senders
from imaging_source.transactions import rad108
from imaging_source.transactions.rad108 import StoreRequest
from shared.dicom.multipart import closing, content_type, part_head
from shared.dicom.part10 import CANNOT_UNDERSTAND, MISMATCH
from shared.http.media_type import decode_media_type
from shared.http.raw_asgi import ClientGone
from shared.imaging.negotiation import Form
from shared.security.caller import Caller, Node
from tests.support.databases import database_place, postgres_url
from tests.support.dicom import a_ct, an_sr, part10
from tests.support.intake import an_intake, stow_app

__all__ = ["database_place", "postgres_url"]

BOUNDARY = "xyz"
NATIVE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
DICOM = [("Content-Type", "application/dicom")]


def message(*files: bytes, headers=DICOM) -> bytes:
    return b"".join(part_head(BOUNDARY, headers) + octets for octets in files) + closing(BOUNDARY)


@asynccontextmanager
async def a_client(intake):
    app = stow_app(intake)
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
async def intake(tmp_path, database_place):
    async with an_intake(tmp_path, database_place, public_url="https://localhost:8443") as made:
        yield made


@pytest.fixture
async def client(intake):
    async with a_client(intake) as made:
        yield made


async def post(client, *files: bytes, study: str = "", body: bytes | None = None, **headers: str):
    given = {"content-type": content_type(BOUNDARY), "accept": "application/dicom+json"}
    return await client.post(
        f"/dicomweb/studies{study}",
        content=message(*files) if body is None else body,
        headers=given | {name.replace("_", "-"): value for name, value in headers.items()},
    )


def members(answer, tag: str) -> list[dict]:
    return answer.json().get(tag, {}).get("Value", [])


def value(item: dict, tag: str):
    return item[tag]["Value"][0]


async def test_a_node_with_a_certificate_is_known_as_the_sender_of_a_study(intake):
    async def body():
        yield message(part10(a_ct()))

    request = StoreRequest(
        study_instance_uid="",
        form=Form.JSON,
        media_type=decode_media_type(content_type(BOUNDARY)),
        length=0,
        chunks=body(),
    )
    node = Node(address="192.0.2.1", subject="CN=pacs,O=North", fingerprint="00" * 32)

    await rad108.handle(intake.unit(Caller(node=node, endpoint="https://localhost:8443")), request)

    assert await find_senders(intake.database, a_ct().StudyInstanceUID) == {"CN=pacs,O=North"}


# --- stored --------------------------------------------------------------------------------------------


async def test_what_is_stored_is_listed_with_where_to_retrieve_it(client, intake):
    answer = await post(client, part10(a_ct()), part10(an_sr()))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    study = "https://localhost:8443/dicomweb/studies/2.25.11"
    assert answer.json()["00081190"] == {"vr": "UR", "Value": [study]}
    stored = members(answer, "00081199")
    assert [value(item, "00081155") for item in stored] == ["2.25.13", "2.25.14"]
    assert value(stored[0], "00081190") == f"{study}/series/2.25.12/instances/2.25.13"
    assert list(answer.json()) == sorted(answer.json())
    assert "00081198" not in answer.json()
    files = {instance.path.read_bytes() for instance in await intake.store.find_study("2.25.11")}
    assert files == {part10(a_ct()), part10(an_sr())}


async def test_each_study_has_its_event(client, intake):
    other = a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.23", PatientID="P2")

    await post(client, part10(a_ct()), part10(an_sr()), part10(other))

    assert [
        (event.action, event.outcome.value, event.event_types[0].code, event.objects[0].object_id)
        for event in intake.trail.events
    ] == [("C", 0, "RAD-108", "2.25.11"), ("C", 0, "RAD-108", "2.25.21")]
    source, destination = intake.trail.events[0].participants
    assert (source.user_id, source.requestor) == ("127.0.0.1", True)
    assert destination.user_id == "https://localhost:8443/dicomweb/studies"


async def test_several_studies_have_no_common_url(client):
    other = a_ct(StudyInstanceUID="2.25.21", SOPInstanceUID="2.25.23")

    answer = await post(client, part10(a_ct()), part10(other))

    assert answer.json()["00081190"] == {"vr": "UR"}


async def test_the_same_again_is_stored_and_no_creation(client, intake):
    await post(client, part10(a_ct()))

    answer = await post(client, part10(a_ct()))

    assert answer.status_code == 200
    assert [event.action for event in intake.trail.events] == ["C", "R"]


async def test_what_looks_like_a_boundary_is_content(client, intake):
    pixels = [(b"\r\n--xyz\r\n"[:length]) + b"q" * (12 - length) for length in range(8)]
    files = [part10(a_ct(SOPInstanceUID=f"2.25.{n}", PixelData=found)) for n, found in enumerate(pixels, 100)]

    answer = await post(client, *files)

    assert answer.status_code == 200, answer.text
    assert {path.read_bytes() for path in intake.kept} == set(files)


@pytest.mark.parametrize(
    "header",
    [
        "multipart/related; type=application/dicom; boundary=xyz",
        'Multipart/Related; boundary="xyz"; type="application/dicom;transfer-syntax=1.2.840.10008.1.2.1"',
        "multipart/related; boundary=xyz",
    ],
)
async def test_the_media_type_is_read_tolerantly(client, header):
    assert (await post(client, part10(a_ct()), content_type=header)).status_code == 200


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json, text/html;q=0.1", "application/dicom+json;q=0.5"]
)
async def test_json_is_given_to_whoever_takes_it(client, accept):
    assert (await post(client, part10(a_ct()), accept=accept)).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        "application/dicom+xml",
        "application/dicom+xml, application/dicom+json;q=.5",
        "*;q=.1, */*;q=0.2, application/dicom+xml",
    ],
)
async def test_xml_is_given_to_whoever_likes_it_better(client, intake, accept):
    answer = await post(client, part10(a_ct()), b"%PDF-1.7" * 50, accept=accept)

    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/dicom+xml")
    model = etree.fromstring(answer.content)
    assert model.tag == f"{{{NATIVE}}}NativeDicomModel"
    uid = model.find(f".//{{{NATIVE}}}DicomAttribute[@keyword='ReferencedSOPInstanceUID']/{{{NATIVE}}}Value")
    assert uid.text == "2.25.13"
    reason = model.find(f".//{{{NATIVE}}}DicomAttribute[@privateCreator='XDSI STOW']/{{{NATIVE}}}Value")
    assert "no DICM" in reason.text
    assert len(intake.kept) == 1


@pytest.mark.parametrize(
    "accept", ["*", "*; q=.2, */*; q=.2", "no media type", "application/dicom+json; q=x"]
)
async def test_the_form_of_the_answer_keeps_no_image_away(client, intake, accept):
    answer = await post(client, part10(a_ct()), accept=accept)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert len(intake.kept) == 1


@pytest.mark.parametrize(
    "header", ["application/dicom", "Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1"]
)
async def test_one_file_as_the_whole_body_is_stored(client, intake, header):
    answer = await post(client, body=part10(a_ct()), content_type=header)

    assert answer.status_code == 200
    assert [path.read_bytes() for path in intake.kept] == [part10(a_ct())]


async def test_a_part_that_does_not_name_its_type_is_stored(client, intake):
    answer = await post(client, body=part_head(BOUNDARY, []) + part10(a_ct()) + closing(BOUNDARY))

    assert answer.status_code == 200
    assert len(intake.kept) == 1


async def test_no_answer_holds_an_element_of_a_command(client):
    answer = await post(client, part10(a_ct()), b"%PDF-1.7" * 50, part10(a_ct(PatientID="P2")))

    tags = re.findall(r'"([0-9A-F]{8})":', answer.text)
    assert tags
    assert not [tag for tag in tags if tag.startswith("0000")]


# --- stored in part, or not at all ---------------------------------------------------------------------


async def test_some_stored_is_202_with_the_failures(client, intake):
    answer = await post(client, part10(a_ct()), b"%PDF-1.7" * 50, part10(a_ct(PatientID="P2")))

    assert answer.status_code == 202
    assert len(members(answer, "00081199")) == 1
    (other,) = members(answer, "0008119A")
    assert value(other, "00081197") == CANNOT_UNDERSTAND
    assert "no DICM at byte 128" in reason_of(other)
    (failed,) = members(answer, "00081198")
    assert (value(failed, "00081155"), value(failed, "00081197")) == ("2.25.13", 272)
    assert {(event.action, event.outcome.value) for event in intake.trail.events} == {("C", 0), ("C", 8)}


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"not DICOM", "no DICM"),
        (part10(a_ct())[:-10], "truncated"),
        (part10(a_ct()).replace(b"2.25.11", b"2.25./1"), "is not a UID"),
    ],
)
async def test_nothing_that_can_be_read_is_400_with_the_reason(client, intake, file, reason):
    answer = await post(client, file)

    assert answer.status_code == 400
    (other,) = members(answer, "0008119A")
    assert reason in reason_of(other)
    assert (intake.kept, intake.incoming) == ([], [])


async def test_an_instance_of_another_study_than_the_path_is_409(client):
    answer = await post(client, part10(a_ct()), study="/2.25.99")

    assert answer.status_code == 409
    (failed,) = members(answer, "00081198")
    assert value(failed, "00081197") == MISMATCH
    assert answer.json()["00081190"] == {"vr": "UR"}


async def test_the_study_of_the_path_is_stored(client):
    answer = await post(client, part10(a_ct()), study="/2.25.11")

    assert answer.status_code == 200
    assert value(answer.json(), "00081190") == "https://localhost:8443/dicomweb/studies/2.25.11"


async def test_another_data_set_under_a_known_uid_is_409(client, intake):
    await post(client, part10(a_ct()))

    answer = await post(client, part10(a_ct(PatientID="P2")))

    assert answer.status_code == 409
    assert [path.read_bytes() for path in intake.kept] == [part10(a_ct())]


async def test_a_part_of_another_type_is_refused_and_the_next_is_stored(client):
    body = (
        part_head(BOUNDARY, [("Content-Type", "application/pdf")])
        + b"%PDF"
        + part_head(BOUNDARY, DICOM)
        + part10(a_ct())
        + closing(BOUNDARY)
    )

    answer = await post(client, body=body)

    assert answer.status_code == 202
    assert "not application/dicom" in reason_of(members(answer, "0008119A")[0])


async def test_a_message_that_breaks_off_keeps_what_was_whole(client, intake):
    whole = message(part10(a_ct()), part10(an_sr()))

    answer = await post(client, body=whole[:-200])

    assert answer.status_code == 202
    assert "closing boundary did not arrive" in answer.headers["warning"]
    assert len(intake.kept) == 1
    assert intake.incoming == []


# --- requests that are not served ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/dicom+json"}, 415),
        ({"content_type": 'multipart/related; type="application/json"; boundary=xyz'}, 415),
        ({"content_type": ""}, 415),
        ({"content_encoding": "gzip"}, 415),
        ({"accept": "text/html"}, 406),
        ({"accept": "application/dicom+json;q=0"}, 406),
        ({"content_type": 'multipart/related; type="application/dicom"'}, 400),
        ({"content_type": f'multipart/related; type="application/dicom"; boundary={"x" * 129}'}, 400),
    ],
)
async def test_a_request_that_cannot_be_read_says_what_would_be_right(client, intake, headers, status):
    answer = await post(client, part10(a_ct()), **headers)

    assert answer.status_code == status
    assert len(answer.text) > 10
    assert (intake.kept, intake.incoming) == ([], [])


@pytest.mark.parametrize("study", ["/x", f"/{'1' * 65}", "/..%2Fetc"])
async def test_a_path_without_uid_is_not_served(client, study):
    assert (await post(client, part10(a_ct()), study=study)).status_code in (400, 404)


@pytest.mark.parametrize("body", [b"", b"--xyz--\r\n", b"nonsense"])
async def test_a_message_without_parts_is_400(client, body):
    assert (await post(client, body=body)).status_code == 400


async def test_a_wrong_assertion_is_401_and_stands_in_the_trail(client, intake):
    answer = await post(client, part10(a_ct()), authorization="Bearer nonsense")

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert intake.kept == []
    assert [event.event_id.code for event in intake.trail.events] == ["110114"]


async def test_nothing_is_taken_that_cannot_be_recorded(client, intake):
    intake.trail.full = True

    answer = await post(client, part10(a_ct()))

    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert intake.kept == []


# --- limits --------------------------------------------------------------------------------------------


async def test_an_instance_that_is_too_long_is_413_and_the_next_is_stored(tmp_path):
    async with an_intake(tmp_path, max_instance_bytes=2000) as intake, a_client(intake) as client:
        long = part10(a_ct(PixelData=bytes(2000)))

        assert (await post(client, long)).status_code == 413
        answer = await post(client, long, part10(a_ct()))

        assert answer.status_code == 202
        assert value(members(answer, "0008119A")[0], "00081197") == OUT_OF_RESOURCES
        assert intake.incoming == []


async def test_too_many_instances_are_413_or_stored_up_to_the_limit(tmp_path):
    files = [part10(a_ct(SOPInstanceUID=f"2.25.{number}")) for number in range(100, 104)]
    async with an_intake(tmp_path, max_instances_per_request=3) as intake, a_client(intake) as client:
        assert (await post(client, *files[:3])).status_code == 200

        answer = await post(client, *files)

        assert answer.status_code == 202
        assert "more than 3 instances" in answer.headers["warning"]
        assert len(intake.kept) == 3


async def test_a_full_disk_is_507(client, intake, monkeypatch):
    def full(expected_bytes: int) -> None:
        raise Refused(OUT_OF_RESOURCES, "no space is left to keep instances")

    with monkeypatch.context() as patched:
        patched.setattr(intake.store.files, "admit", full)
        answer = await post(client, part10(a_ct()))

    assert answer.status_code == 507
    assert (await post(client, part10(a_ct()))).status_code == 200


async def test_memory_does_not_grow_with_a_part(client, intake):
    long = part10(a_ct())
    pixels = 64 * 1024**2
    head = long[: -32 - 4] + pixels.to_bytes(4, "little")

    async def body():
        yield part_head(BOUNDARY, DICOM) + head
        for _ in range(pixels // 65536):
            yield bytes(65536)
        yield closing(BOUNDARY)

    tracemalloc.start()
    answer = await client.post(
        "/dicomweb/studies", content=body(), headers={"content-type": content_type(BOUNDARY)}
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert answer.status_code == 200, answer.text
    assert intake.kept[0].stat().st_size == len(head) + pixels
    assert peak < 24 * 1024**2


async def test_a_sender_that_hangs_up_leaves_its_whole_instances_and_their_event(client, intake):
    async def body():
        yield message(part10(a_ct()), part10(an_sr()))[:-200]
        raise ClientGone("the connection ended before the request did")

    await client.post("/dicomweb/studies", content=body(), headers={"content-type": content_type(BOUNDARY)})

    assert len(intake.kept) == 1
    assert intake.incoming == []
    assert [event.action for event in intake.trail.events] == ["C"]


def test_the_answer_is_json_that_ascends_by_tag_in_every_item():
    from imaging_source.domain.stow import Results, results_module
    from shared.imaging.description import Claim

    refused = Refused(MISMATCH, "why", Claim(sop_class_uid="1.2", sop_instance_uid="1.3"))

    encoded = results_module(Results((refused, Refused(MISMATCH, "why"))), "http://x", "")

    for item in (encoded, *encoded["00081198"]["Value"], *encoded["0008119A"]["Value"]):
        assert list(item) == sorted(item)
