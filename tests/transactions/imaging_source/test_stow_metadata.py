"""STOW-RS of metadata and bulk data: what WADO-RS gave of an instance makes the same instance again."""

from __future__ import annotations

import json
import re
from contextlib import asynccontextmanager

import httpx2
import pydicom
import pytest

from shared.dicom import native_xml
from shared.dicom.content import content_digest
from shared.dicom.part10 import scan
from shared.dicom.uids import EXPLICIT_LE
from tests.support.dicom import a_ct, a_multi_frame, an_sr, part10
from tests.support.intake import a_transfer, an_intake, stow_app

BOUNDARY = "xyz"
JPEG = b"\xff\xd8\xff\xe0\0\4JF" + b"\xff\xc0\0\4\x08\1" + bytes(20) + b"\xff\xd9"


@pytest.fixture
async def intake(tmp_path):
    async with an_intake(tmp_path / "first") as made:
        yield made


@asynccontextmanager
async def a_client(intake):
    transport = httpx2.ASGITransport(stow_app(intake))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


Part = tuple[str, str, bytes]


async def post(intake, kind: str, *parts: Part, study: str = ""):
    body = b"".join(
        f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n".encode()
        + (f"Content-Location: {location}\r\n".encode() if location else b"")
        + b"\r\n"
        + octets
        + b"\r\n"
        for media_type, location, octets in parts
    )
    headers = {
        "content-type": f'multipart/related; type="application/dicom+{kind}"; boundary={BOUNDARY}',
        "accept": "application/dicom+json",
    }
    async with a_client(intake) as client:
        content = body + f"--{BOUNDARY}--\r\n".encode()
        return await client.post(f"/dicomweb/studies{study}", content=content, headers=headers)


def metadata(*instances: dict) -> Part:
    return ("application/dicom+json", "", json.dumps(instances).encode())


def as_xml(attributes: dict) -> Part:
    return ("application/dicom+xml", "", native_xml.encode(attributes))


def described(data_set: pydicom.Dataset, *uris: str) -> dict:
    """The metadata of a data set with pixels at `uris`."""
    attributes = json.loads(data_set.to_json(suppress_invalid_tags=True))
    if uris:
        attributes["7FE00010"] = {"vr": "OW", "BulkDataURI": uris[0]}
    return attributes


async def kept(intake, study: str = "2.25.11"):
    return {one.sop_instance_uid: one for one in await intake.store.find_study(study)}


@pytest.mark.parametrize("kind", ["json", "xml"])
@pytest.mark.parametrize("make", [a_ct, a_multi_frame, an_sr])
async def test_what_was_given_makes_the_same_instance_again(tmp_path, intake, kind, make):
    """Metadata and each BulkDataURI of one store, sent to another: one content."""
    octets = part10(make(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 192"), EXPLICIT_LE)
    first = (await intake.store.store_part10(intake.spooled(octets), a_transfer())).instance
    encoded = b"".join([piece async for piece in intake.store.metadata_array([first])])
    [attributes] = json.loads(encoded)
    parts: list[Part] = []
    for uri in re.findall(r'"BulkDataURI":"([^"]*)"', encoded.decode()):
        value = await intake.store.bulk_data(first.path, uri.partition("/bulkdata/")[2].split("/"))
        octets = b"".join(
            piece.path.read_bytes()[piece.offset : piece.offset + piece.length] for piece in value.pieces
        )
        parts.append((value.media_type, uri, octets))
    described = metadata(attributes) if kind == "json" else as_xml(attributes)

    async with an_intake(tmp_path / "second") as other:
        answer = await post(other, kind, described, *parts)

        assert answer.status_code == 200, answer.text
        again = (await kept(other))[first.sop_instance_uid]
        assert content_digest(scan(again.path)) == content_digest(scan(first.path))


async def test_bulk_data_may_come_before_the_metadata_and_be_of_several_instances(intake):
    first, second = a_ct(), a_ct(SOPInstanceUID="2.25.99")

    answer = await post(
        intake,
        "json",
        ("application/octet-stream", "b/2", second.PixelData),
        metadata(described(first, "b/1"), described(second, "b/2")),
        ("application/octet-stream", "b/1", first.PixelData),
    )

    assert answer.status_code == 200, answer.text
    assert {pydicom.dcmread(one.path).PixelData for one in (await kept(intake)).values()} == {
        first.PixelData,
        second.PixelData,
    }
    assert intake.incoming == []


async def test_compressed_pixels_are_encapsulated_frame_by_frame(intake):
    data_set = a_ct(NumberOfFrames="2")

    answer = await post(
        intake,
        "json",
        metadata(described(data_set, "pixels")),
        ("image/jpeg", "pixels", JPEG),
        ("image/jpeg", "pixels", JPEG + b"\0\0"),
    )

    assert answer.status_code in (200, 202), answer.text
    [instance] = (await kept(intake)).values()
    assert instance.transfer_syntax_uid == "1.2.840.10008.1.2.4.50"
    pixels = pydicom.dcmread(instance.path).PixelData
    frames = list(pydicom.encaps.generate_frames(pixels, number_of_frames=2))
    assert frames[0] == JPEG


async def test_a_transfer_syntax_of_the_part_is_believed(intake):
    syntax = "1.2.840.10008.1.2.4.57"

    await post(
        intake,
        "json",
        metadata(described(a_ct(), "pixels")),
        (f"image/jpeg; transfer-syntax={syntax}", "pixels", JPEG),
    )

    [instance] = (await kept(intake)).values()
    assert instance.transfer_syntax_uid == syntax


async def test_an_instance_whose_bulk_data_are_absent_fails_and_the_others_are_stored(intake):
    first, second = a_ct(), a_ct(SOPInstanceUID="2.25.99")

    answer = await post(
        intake,
        "json",
        metadata(described(first, "there"), described(second, "not-there")),
        ("application/octet-stream", "there", first.PixelData),
    )

    assert answer.status_code == 202
    [failed] = answer.json()["00081198"]["Value"]
    assert failed["00081155"]["Value"] == ["2.25.99"]
    assert "(7FE0,0010) did not come" in str(failed)
    assert list(await kept(intake)) == [first.SOPInstanceUID]
    assert intake.incoming == []


@pytest.mark.parametrize(
    "part",
    [
        ("application/dicom+json", "", b"no json"),
        ("application/dicom+json", "", b'["x"]'),
        ("application/dicom+json", "", b'[{"00080018":5}]'),
        ("application/dicom+json", "", b'[{"00100010":{"vr":"PN","Value":[{"Alphabetic":[1]}]}}]'),
        ("application/dicom+json", "", b'[{"zzz":{"vr":"PN"}}]'),
        ("application/dicom+json", "", b"[" * 100_000),
        ("application/dicom+xml", "", b"<NativeDicomModel>"),
        ("application/dicom+xml", "", b"<other/>"),
        (
            "application/dicom+xml",
            "",
            b'<NativeDicomModel><DicomAttribute tag="x" vr="LO"/></NativeDicomModel>',
        ),
        (
            "application/dicom+xml",
            "",
            b'<NativeDicomModel><DicomAttribute tag="00100010" vr="LO"><Value number="999999999">a</Value>'
            b"</DicomAttribute></NativeDicomModel>",
        ),
    ],
)
async def test_malformed_metadata_are_refused_and_leave_nothing(intake, part):
    answer = await post(intake, part[0].partition("+")[2], part)

    assert answer.status_code in (400, 409), answer.text
    assert (intake.kept, intake.incoming) == ([], [])


async def test_a_study_that_the_path_does_not_name_is_refused(intake):
    data_set = a_ct()

    answer = await post(
        intake,
        "json",
        metadata(described(data_set, "b")),
        ("application/octet-stream", "b", data_set.PixelData),
        study="/2.25.99",
    )

    assert answer.status_code == 409
