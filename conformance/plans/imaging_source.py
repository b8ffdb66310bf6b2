"""Imaging Document Source: RAD-69, WADO-RS (RAD-107), QIDO-RS (RAD-129), STOW-RS (RAD-108) and WADO-URI
(RAD-55)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from email import message_from_bytes
from email.policy import HTTP
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode

from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.plans import soap
from conformance.plans.images import (
    COLUMNS,
    EXPLICIT,
    IMPLICIT,
    JPEG_LOSSLESS,
    RLE,
    ROWS,
    Image,
    Study,
    an_image,
    pixels,
    stored,
    stow,
)
from conformance.plans.message import Envelope, Reply, parameter
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.repository import requested
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
RETRIEVE = "urn:ihe:rad:2009:RetrieveImagingDocumentSet"
RESPONSE = "urn:ihe:iti:2007:RetrieveDocumentSetResponse"
SOURCE, WEB, URI = ("source",), ("dicomweb",), ("wado", "dicomweb")


def location(stand: Stand) -> str:
    """The Retrieve Location UID; raises `NotOffered` when it was not given."""
    if not stand.target.retrieve_location_uid:
        raise NotOffered("the Retrieve Location UID was not given (--retrieve-location)")
    return stand.target.retrieve_location_uid


def asked(
    study: str,
    documents: Sequence[tuple[str, str, str]],
    syntaxes: Sequence[str] = (EXPLICIT,),
    *,
    home: str = "",
) -> str:
    """A RetrieveImagingDocumentSetRequest of (series, repository, uid)."""
    series: dict[str, list[tuple[str, str]]] = {}
    for of_series, repository, uid in documents:
        series.setdefault(of_series, []).append((repository, uid))
    listed = "".join(
        f'<xdsi:SeriesRequest seriesInstanceUID="{uid}">{requested(*of, home=home)}</xdsi:SeriesRequest>'
        for uid, of in series.items()
    )
    uids = "".join(f"<xdsi:TransferSyntaxUID>{uid}</xdsi:TransferSyntaxUID>" for uid in syntaxes)
    return (
        f'<xdsi:RetrieveImagingDocumentSetRequest><xdsi:StudyRequest studyInstanceUID="{study}">{listed}'
        f"</xdsi:StudyRequest><xdsi:TransferSyntaxUIDList>{uids}</xdsi:TransferSyntaxUIDList>"
        "</xdsi:RetrieveImagingDocumentSetRequest>"
    )


def retrieve(
    stand: Stand,
    images: Sequence[Image],
    syntaxes: Sequence[str] = (EXPLICIT,),
    *,
    repository: str = "",
    study: str = "",
    series: str = "",
) -> Reply:
    """RAD-69 of these instances; `repository`, `study` and `series` in place of the right ones."""
    body = asked(
        study or images[0].study,
        [(series or one.series, repository or location(stand), one.uid) for one in images],
        syntaxes,
    )
    return stand.soap("source", Envelope(action=RETRIEVE, body=body), parts={})


def delivered(reply: Reply) -> dict[str, Dataset]:
    """The instances of an answer by the DocumentUniqueId that it gives them."""
    matches = {}
    for response in reply.all("xds:DocumentResponse"):
        uid = str(reply.all("xds:DocumentUniqueId", response)[0].text).strip()
        octets = reply.content_of(reply.all("xds:Document", response)[0])
        expect(octets[128:132] == b"DICM", f"the part of {uid} is no DICOM file")
        matches[uid] = dcmread(BytesIO(octets))
    return matches


def expect_same(matches: Dataset, image: Image) -> None:
    """Raise `Unmet` unless the data set is that of the instance; the transfer syntax may be another."""
    right = image.dataset
    for element in right:
        if element.keyword == "PixelData":
            continue
        expect(element.tag in matches, f"{element.keyword} is missing")
        expect_equal(str(matches[element.tag].value), str(element.value), element.keyword)


soap.state(
    PLAN,
    "SRC",
    soap.Door(
        "source",
        RETRIEVE,
        RESPONSE,
        True,
        lambda stand: asked("2.25.1", [("2.25.2", "2.999.404", stand.oid())]),
    ),
)


# --- RAD-69 ---------------------------------------------------------------------------------------------

_CLAUSE = "RAD TF-2 4.69.4.2"


@PLAN.requires("IMG-69-101", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """Every instance that is asked for comes, as a complete Part 10 file."""
    study = stored(stand)
    matches = delivered(retrieve(stand, study.images).expect_success())
    expect_equal(sorted(matches), sorted(one.uid for one in study.images), "the instances")


@PLAN.requires("IMG-69-102", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """The data set of an instance is as it was stored."""
    image = stored(stand).images[0]
    expect_same(delivered(retrieve(stand, [image]))[image.uid], image)


@PLAN.requires("IMG-69-103", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """The pixels of an instance are as they were stored."""
    image = stored(stand).images[1]
    expect(delivered(retrieve(stand, [image]))[image.uid].PixelData == pixels(2), "the pixels differ")


@PLAN.requires("IMG-69-104", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """SOP Instance UID in the file is the DocumentUniqueId of its response."""
    study = stored(stand)
    for uid, dataset in delivered(retrieve(stand, study.images)).items():
        expect_equal(str(dataset.SOPInstanceUID), uid, "SOP Instance UID")


@PLAN.requires("IMG-69-105", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """mimeType is application/dicom."""
    reply = retrieve(stand, stored(stand).images[:1]).expect_success()
    expect_equal(reply.text("//xds:DocumentResponse/xds:mimeType"), "application/dicom", "mimeType")


@PLAN.requires("IMG-69-106", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """RepositoryUniqueId comes back as it was asked for."""
    reply = retrieve(stand, stored(stand).images[:1]).expect_success()
    expect_equal(
        reply.text("//xds:DocumentResponse/xds:RepositoryUniqueId"), location(stand), "RepositoryUniqueId"
    )


@PLAN.requires("IMG-69-107", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """The response has the wsa:Action of ITI-43."""
    expect_equal(retrieve(stand, stored(stand).images[:1]).action, RESPONSE, "wsa:Action")


@PLAN.requires("IMG-69-108", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """There is one part for each instance, named by xop:Include."""
    study = stored(stand)
    reply = retrieve(stand, study.images).expect_success()
    expect_equal(len(reply.all("xds:DocumentResponse/xds:Document/xop:Include")), 4, "xop:Include elements")
    expect_equal(len(reply.parts), 4, "the number of parts")


@PLAN.requires("IMG-69-109", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """Instances of several series come in one answer."""
    study = stored(stand)
    matches = delivered(retrieve(stand, [study.images[0], study.images[3]]).expect_success())
    expect_equal(
        {str(one.SeriesInstanceUID) for one in matches.values()},
        {study.images[0].series, study.images[3].series},
        "the series",
    )


@PLAN.requires("IMG-69-110", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """Nothing comes that was not asked for."""
    study = stored(stand)
    expect_equal(len(delivered(retrieve(stand, study.images[:2]).expect_success())), 2, "instances")


@PLAN.requires("IMG-69-111", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """Patient ID, birth date, sex and accession number are unchanged."""
    image = stored(stand).images[0]
    matches = delivered(retrieve(stand, [image]))[image.uid]
    for keyword in ("PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"):
        expect_equal(str(matches[keyword].value), str(image.dataset[keyword].value), keyword)


@PLAN.requires("IMG-69-112", _CLAUSE, needs=SOURCE)
def _(stand: Stand) -> None:
    """An instance that is asked for twice comes, and the answer is a Success."""
    image = stored(stand).images[0]
    expect(image.uid in delivered(retrieve(stand, [image, image]).expect_success()), "it did not come")


def _refused(change: dict[str, str], *codes: str) -> Callable[[Stand], None]:
    def ask(stand: Stand) -> None:
        replacements = {name: value or stand.oid() for name, value in change.items()}
        reply = retrieve(stand, stored(stand).images[:1], **replacements)
        reply.expect_failure(*codes)
        expect(not reply.all("xds:DocumentResponse"), "a Failure brings documents")

    return ask


for _number, (_name, _change, _codes) in enumerate(
    (
        ("of a repository that is not this one", {"repository": "2.999.404"}, ("XDSUnknownRepositoryId",)),
        ("of another study", {"study": ""}, ("XDSDocumentUniqueIdError",)),
        ("of another series", {"series": ""}, ("XDSDocumentUniqueIdError",)),
    ),
    1,
):
    PLAN.add(
        f"IMG-69-20{_number}",
        "RAD TF-2 4.69.4.2.3",
        f"an instance {_name} is refused with {_codes[0]}",
        _refused(_change, *_codes),
        needs=SOURCE,
    )


@PLAN.requires("IMG-69-204", "RAD TF-2 4.69.4.2.3", needs=SOURCE)
def _(stand: Stand) -> None:
    """An instance that nobody knows is a Failure with XDSDocumentUniqueIdError at its UID."""
    image = stored(stand).images[0]
    strange = Image(image.study, image.series, stand.oid(), b"", "")
    reply = retrieve(stand, [strange]).expect_failure("XDSDocumentUniqueIdError")
    expect_equal(reply.errors[0].get("location"), strange.uid, "location")


@PLAN.requires("IMG-69-205", "RAD TF-2 4.69.4.2.3", needs=SOURCE)
def _(stand: Stand) -> None:
    """What is there comes beside the error for what is not: PartialSuccess."""
    image = stored(stand).images[0]
    strange = Image(image.study, image.series, stand.oid(), b"", "")
    reply = retrieve(stand, [image, strange]).expect_partial("XDSDocumentUniqueIdError")
    expect_equal(list(delivered(reply)), [image.uid], "the instances")


@PLAN.requires("IMG-69-206", "RAD TF-2 4.69.4.2.3", needs=SOURCE)
def _(stand: Stand) -> None:
    """There is one error for each instance that does not come."""
    image = stored(stand).images[0]
    strangers = [Image(image.study, image.series, stand.oid(), b"", "") for _ in range(3)]
    reply = retrieve(stand, strangers).expect_failure()
    expect_equal(
        sorted(str(one.get("location")) for one in reply.errors),
        sorted(one.uid for one in strangers),
        "locations",
    )


# --- RAD-69: transfer syntaxes ---------------------------------------------------------------------------


@PLAN.requires("IMG-69-301", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """An instance that is stored in a listed transfer syntax comes as it is stored."""
    image = stored(stand).compressed
    matches = delivered(retrieve(stand, [image], (RLE,)).expect_success())[image.uid]
    expect_equal(str(matches.file_meta.TransferSyntaxUID), RLE, "Transfer Syntax UID")
    expect(matches.PixelData == image.dataset.PixelData, "the pixels differ")


@PLAN.requires("IMG-69-302", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """A compressed instance is decompressed for who lists Explicit VR Little Endian alone."""
    image = stored(stand).compressed
    matches = delivered(retrieve(stand, [image], (EXPLICIT,)).expect_success())[image.uid]
    expect_equal(str(matches.file_meta.TransferSyntaxUID), EXPLICIT, "Transfer Syntax UID")
    expect(matches.PixelData[: ROWS * COLUMNS] == pixels(6), "the pixels differ")


@PLAN.requires("IMG-69-303", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """No instance comes in a transfer syntax that is not listed."""
    study = stored(stand)
    for syntaxes in ((EXPLICIT,), (RLE, EXPLICIT), (JPEG_LOSSLESS, EXPLICIT)):
        for image in (study.images[0], study.compressed):
            for matches in delivered(retrieve(stand, [image], syntaxes)).values():
                used = str(matches.file_meta.TransferSyntaxUID)
                expect(used in syntaxes, f"{used} came, and {syntaxes} were listed")


@PLAN.requires("IMG-69-304", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """A list of unknown transfer syntaxes alone is a Failure, and no fault."""
    retrieve(stand, stored(stand).images[:1], ("2.25.1",)).expect_failure()


@PLAN.requires("IMG-69-305", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """A blank transfer syntax is a Failure, and no fault."""
    retrieve(stand, stored(stand).images[:1], ("",)).expect_failure()


@PLAN.requires("IMG-69-306", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """An unknown transfer syntax beside a known one is ignored."""
    retrieve(stand, stored(stand).images[:1], ("2.25.1", EXPLICIT)).expect_success()


@PLAN.requires("IMG-69-307", "RAD TF-2 4.69.4.1.2", needs=SOURCE)
def _(stand: Stand) -> None:
    """Every frame of a multi-frame instance comes."""
    image = stored(stand).frames
    matches = delivered(retrieve(stand, [image]).expect_success())[image.uid]
    expect_equal(int(matches.NumberOfFrames), 3, "Number of Frames")
    expect(matches.PixelData == pixels(5, 3), "the pixels differ")


@PLAN.requires("IMG-69-308", "DICOM PS3.10 7.1", needs=SOURCE)
def _(stand: Stand) -> None:
    """File Meta Information names the class, the instance and the transfer syntax of the file."""
    image = stored(stand).images[0]
    meta = delivered(retrieve(stand, [image]))[image.uid].file_meta
    expect_equal(str(meta.MediaStorageSOPInstanceUID), image.uid, "Media Storage SOP Instance UID")
    expect_equal(
        str(meta.MediaStorageSOPClassUID), str(image.dataset.SOPClassUID), "Media Storage SOP Class UID"
    )


# --- WADO-RS --------------------------------------------------------------------------------------------

_WADO = "DICOM PS3.18 10.4"
DICOM_PARTS = 'multipart/related; type="application/dicom"'


def at(stand: Stand, *path: str) -> str:
    """An address of the DICOMweb service."""
    return "/".join((stand.endpoint("dicomweb").rstrip("/"), *path))


def of_study(image: Image | Study) -> tuple[str, ...]:
    """The path of a study."""
    return ("studies", image.uid if isinstance(image, Study) else image.study)


def of_instance(image: Image) -> tuple[str, ...]:
    """The path of an instance."""
    return ("studies", image.study, "series", image.series, "instances", image.uid)


def get(stand: Stand, path: Sequence[str], accept: str = DICOM_PARTS, query: str = "") -> Reply:
    """A GET of the DICOMweb service; without Accept when it is empty."""
    url = at(stand, *path) + (f"?{query}" if query else "")
    return stand.http("GET", url, headers={"Accept": accept} if accept else {"Accept": ""})


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """The parts of a multipart answer: media type and octets."""
    expect_equal(reply.media_type, "multipart/related", "the media type")
    boundary = parameter(reply.content_type, "boundary").encode()
    matches = []
    for piece in (b"\r\n" + reply.content).split(b"\r\n--" + boundary)[1:-1]:
        head, _, octets = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = message_from_bytes(head + b"\r\n\r\n", policy=HTTP)
        matches.append((str(headers.get("Content-Type", "")), octets))
    return matches


def instances_of(reply: Reply) -> list[Dataset]:
    """The instances of a WADO-RS answer."""
    expect_equal(reply.status, 200, "the HTTP status")
    return [dcmread(BytesIO(octets)) for _, octets in parts_of(reply)]


def _uids(matches: Sequence[Dataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for one in matches)


@PLAN.requires("IMG-107-101", _WADO, needs=WEB)
def _(stand: Stand) -> None:
    """A study brings all its instances."""
    study = stored(stand)
    expect_equal(
        _uids(instances_of(get(stand, of_study(study)))), sorted(one.uid for one in study.images), "instances"
    )


@PLAN.requires("IMG-107-102", _WADO, needs=WEB)
def _(stand: Stand) -> None:
    """A series brings its instances alone."""
    study = stored(stand)
    path = (*of_study(study), "series", study.images[0].series)
    expect_equal(
        _uids(instances_of(get(stand, path))), sorted(one.uid for one in study.images[:3]), "instances"
    )


@PLAN.requires("IMG-107-103", _WADO, needs=WEB)
def _(stand: Stand) -> None:
    """An instance comes as it was stored."""
    image = stored(stand).images[2]
    (matches,) = instances_of(get(stand, of_instance(image)))
    expect_same(matches, image)
    expect(matches.PixelData == pixels(3), "the pixels differ")


@PLAN.requires("IMG-107-104", "DICOM PS3.18 8.7.3", needs=WEB)
def _(stand: Stand) -> None:
    """The answer is multipart/related of application/dicom, and so is each part."""
    reply = get(stand, of_study(stored(stand)))
    expect_equal(parameter(reply.content_type, "type"), "application/dicom", "the parameter type")
    for media_type, _ in parts_of(reply):
        expect(media_type.startswith("application/dicom"), f"a part is {media_type!r}")


for _number, _accept in enumerate(("*/*", "multipart/related", 'multipart/related; type="*/*"'), 5):

    def _default(stand: Stand, accept: str = _accept) -> None:
        expect_equal(len(instances_of(get(stand, of_study(stored(stand)), accept))), 4, "instances")

    PLAN.add(
        f"IMG-107-10{_number}",
        "DICOM PS3.18 8.7.5",
        f"Accept: {_accept} brings the default of the resource",
        _default,
        needs=WEB,
    )


@PLAN.requires("IMG-107-108", "DICOM PS3.18 8.7.3.5.2", needs=WEB)
def _(stand: Stand) -> None:
    """Without a transfer syntax Explicit VR Little Endian comes, of what is compressed too."""
    (matches,) = instances_of(get(stand, of_instance(stored(stand).compressed)))
    expect_equal(str(matches.file_meta.TransferSyntaxUID), EXPLICIT, "Transfer Syntax UID")
    expect(matches.PixelData[: ROWS * COLUMNS] == pixels(6), "the pixels differ")


@PLAN.requires("IMG-107-109", "DICOM PS3.18 8.7.3.5.2", needs=WEB)
def _(stand: Stand) -> None:
    """transfer-syntax=* brings an instance as it is stored."""
    image = stored(stand).compressed
    (matches,) = instances_of(get(stand, of_instance(image), f"{DICOM_PARTS}; transfer-syntax=*"))
    expect_equal(str(matches.file_meta.TransferSyntaxUID), RLE, "Transfer Syntax UID")


@PLAN.requires("IMG-107-110", "DICOM PS3.18 8.7.3.5.2", needs=WEB)
def _(stand: Stand) -> None:
    """A transfer syntax that is asked for comes."""
    image = stored(stand).compressed
    (matches,) = instances_of(get(stand, of_instance(image), f"{DICOM_PARTS}; transfer-syntax={RLE}"))
    expect_equal(str(matches.file_meta.TransferSyntaxUID), RLE, "Transfer Syntax UID")


for _number, (_what, _accept) in enumerate(
    (
        ("a media type that no study has", "text/css"),
        ("a transfer syntax that nobody knows", f"{DICOM_PARTS}; transfer-syntax=2.25.1"),
        ("Implicit VR Little Endian, which the web has not", f"{DICOM_PARTS}; transfer-syntax={IMPLICIT}"),
    ),
    11,
):

    def _unacceptable(stand: Stand, accept: str = _accept) -> None:
        expect_equal(get(stand, of_study(stored(stand)), accept).status, 406, "the HTTP status")

    PLAN.add(f"IMG-107-1{_number}", "DICOM PS3.18 8.7.8", f"{_what} is 406", _unacceptable, needs=WEB)

for _number, (_what, _path) in enumerate(
    (
        ("a study", lambda stand, image: ("studies", stand.oid())),
        ("a series", lambda stand, image: ("studies", image.study, "series", stand.oid())),
        (
            "an instance",
            lambda stand, image: ("studies", image.study, "series", image.series, "instances", stand.oid()),
        ),
        (
            "an instance in another series",
            lambda stand, image: ("studies", image.study, "series", stand.oid(), "instances", image.uid),
        ),
    ),
    21,
):

    def _absent(stand: Stand, path: Callable[..., tuple[str, ...]] = _path) -> None:
        expect_equal(get(stand, path(stand, stored(stand).images[0])).status, 404, "the HTTP status")

    PLAN.add(
        f"IMG-107-1{_number}", "DICOM PS3.18 10.4.3", f"{_what} that nobody knows is 404", _absent, needs=WEB
    )


@PLAN.requires("IMG-107-131", "DICOM PS3.18 10.4.1.1.2", needs=WEB)
def _(stand: Stand) -> None:
    """Metadata come as DICOM JSON, one object for each instance, without pixels."""
    reply = get(stand, (*of_study(stored(stand)), "metadata"), "application/dicom+json")
    expect_equal(reply.media_type, "application/dicom+json", "the media type")
    listed = json.loads(reply.content)
    expect_equal(len(listed), 4, "the number of objects")
    for one in listed:
        pixel_data = one.get("7FE00010", {})
        expect(not {"Value", "InlineBinary"} & set(pixel_data), "metadata hold pixels")


@PLAN.requires("IMG-107-132", "DICOM PS3.18 F.2", needs=WEB)
def _(stand: Stand) -> None:
    """Metadata say of each attribute its VR, and a person's name by its groups."""
    image = stored(stand).images[0]
    (one,) = json.loads(get(stand, (*of_instance(image), "metadata"), "application/dicom+json").content)
    expect_equal(one["00100010"], {"vr": "PN", "Value": [{"Alphabetic": "Probe^Rick"}]}, "Patient's Name")
    expect_equal(one["00080018"], {"vr": "UI", "Value": [image.uid]}, "SOP Instance UID")
    expect(all("vr" in value for value in one.values()), "an attribute has no vr")


@PLAN.requires("IMG-107-133", "DICOM PS3.18 10.4.1.1.2", needs=WEB)
def _(stand: Stand) -> None:
    """Metadata of a series are of its instances alone."""
    study = stored(stand)
    path = (*of_study(study), "series", study.images[3].series, "metadata")
    expect_equal(len(json.loads(get(stand, path, "application/dicom+json").content)), 1, "objects")


@PLAN.requires("IMG-107-134", "DICOM PS3.18 10.4.1.1.2", needs=WEB)
def _(stand: Stand) -> None:
    """Metadata of a study that nobody knows are 404."""
    expect_equal(
        get(stand, ("studies", stand.oid(), "metadata"), "application/dicom+json").status, 404, "status"
    )


for _number, _frame in enumerate((1, 2, 3), 41):

    def _framed(stand: Stand, frame: int = _frame) -> None:
        image = stored(stand).frames
        accept = 'multipart/related; type="application/octet-stream"'
        reply = get(stand, (*of_instance(image), "frames", str(frame)), accept)
        expect_equal(reply.status, 200, "the HTTP status")
        ((_, octets),) = parts_of(reply)
        size = ROWS * COLUMNS
        expect(octets == pixels(5, 3)[(frame - 1) * size : frame * size], "the pixels differ")

    PLAN.add(
        f"IMG-107-1{_number}",
        "DICOM PS3.18 10.4.1.1.3",
        f"frame {_frame} comes as its own pixels",
        _framed,
        needs=WEB,
        option="Frames",
    )


@PLAN.requires("IMG-107-144", "DICOM PS3.18 10.4.1.1.3", option="Frames", needs=WEB)
def _(stand: Stand) -> None:
    """Several frames come in the order in which they are asked for."""
    accept = 'multipart/related; type="application/octet-stream"'
    reply = get(stand, (*of_instance(stored(stand).frames), "frames", "3,1"), accept)
    size = ROWS * COLUMNS
    right = [pixels(5, 3)[2 * size :], pixels(5, 3)[:size]]
    expect([octets for _, octets in parts_of(reply)] == right, "the frames differ")


@PLAN.requires("IMG-107-145", "DICOM PS3.18 10.4.3", option="Frames", needs=WEB)
def _(stand: Stand) -> None:
    """A frame beyond the last one is 404."""
    path = (*of_instance(stored(stand).frames), "frames", "4")
    expect_equal(get(stand, path, "*/*").status, 404, "the HTTP status")


@PLAN.requires("IMG-107-146", "DICOM PS3.18 10.4.3", option="Frames", needs=WEB)
def _(stand: Stand) -> None:
    """A list of frames that is none is 400."""
    path = (*of_instance(stored(stand).frames), "frames", "one")
    expect_equal(get(stand, path, "*/*").status, 400, "the HTTP status")


for _number, (_what, _rest) in enumerate(
    (
        ("an instance", ("rendered",)),
        ("a frame", ("frames", "1", "rendered")),
        ("an instance, small,", ("thumbnail",)),
    ),
    51,
):

    def _shown(stand: Stand, rest: tuple[str, ...] = _rest) -> None:
        reply = get(
            stand,
            (*of_instance(stored(stand).frames if "frames" in rest else stored(stand).images[0]), *rest),
            "image/jpeg",
        )
        expect_equal(reply.status, 200, "the HTTP status")
        expect(reply.content.startswith(b"\xff\xd8\xff"), "it is no JPEG")

    PLAN.add(
        f"IMG-107-1{_number}",
        "DICOM PS3.18 10.4.1.1.4",
        f"{_what} comes as a JPEG",
        _shown,
        needs=WEB,
        option="Rendered",
    )


@PLAN.requires("IMG-107-154", "DICOM PS3.18 10.4.1.1.4", option="Rendered", needs=WEB)
def _(stand: Stand) -> None:
    """An invalid value of a parameter of rendering is 400."""
    path = (*of_instance(stored(stand).images[0]), "rendered")
    expect_equal(get(stand, path, "image/jpeg", "quality=900").status, 400, "the HTTP status")


# --- QIDO-RS --------------------------------------------------------------------------------------------

_QIDO = "DICOM PS3.18 10.6"
JSON = "application/dicom+json"


def search(stand: Stand, path: Sequence[str], **keys: str) -> list[dict[str, Any]]:
    """The matches of a QIDO-RS search; none for 204."""
    reply = get(stand, path, JSON, urlencode(keys))
    if reply.status == 204:
        return []
    expect_equal(reply.status, 200, "the HTTP status")
    listed: list[dict[str, Any]] = json.loads(reply.content)
    return listed


def value(match: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute of a match; None without."""
    return next(iter(match.get(tag, {}).get("Value", [])), None)


_KEYS: tuple[tuple[str, Callable[[Study], str], str], ...] = (
    ("StudyInstanceUID", lambda study: study.uid, "2.25.404"),
    ("0020000D", lambda study: study.uid, "2.25.404"),
    ("PatientID", lambda study: study.images[0].patient, "NOBODY"),
    ("AccessionNumber", lambda study: f"A{study.uid[-8:]}", "NONE"),
)
for _number, (_key, _right, _wrong) in enumerate(_KEYS, 1):

    def _matched(
        stand: Stand, key: str = _key, right: Callable[[Study], str] = _right, wrong: str = _wrong
    ) -> None:
        study = stored(stand)
        matches = [value(one, "0020000D") for one in search(stand, ("studies",), **{key: right(study)})]
        expect(study.uid in matches, f"{key} does not find the study")
        expect_equal(search(stand, ("studies",), **{key: wrong}), [], "matches of another value")

    PLAN.add(
        f"IMG-129-10{_number}",
        _QIDO,
        f"studies are found by {_key}, and by another value not",
        _matched,
        needs=WEB,
        option="QIDO-RS",
    )

_NARROWING = (
    ("StudyDate", "20240305", "19000101"),
    ("StudyDate", "20240301-20240331", "19000101-19000102"),
    ("ModalitiesInStudy", "CT", "PX"),
    ("PatientName", "Probe*", "Nobody*"),
)
for _number, (_key, _value, _other) in enumerate(_NARROWING, 11):

    def _narrowed(stand: Stand, key: str = _key, right: str = _value, wrong: str = _other) -> None:
        study = stored(stand)
        study_key = {"StudyInstanceUID": study.uid}
        expect_equal(len(search(stand, ("studies",), **study_key, **{key: right})), 1, "matches")
        expect_equal(len(search(stand, ("studies",), **study_key, **{key: wrong})), 0, "matches")

    PLAN.add(
        f"IMG-129-1{_number}",
        _QIDO,
        f"{_key}={_value} narrows a search of studies",
        _narrowed,
        option="QIDO-RS",
        needs=WEB,
    )


@PLAN.requires("IMG-129-121", "DICOM PS3.18 10.6.3", option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A match of a study has the attributes that PS3.18 requires."""
    study = stored(stand)
    (match,) = search(stand, ("studies",), StudyInstanceUID=study.uid)
    for tag in (
        "00080020", "00080030", "00080050", "00080061", "00080090", "00100010", "00100020", "00100030", "00100040",
        "0020000D", "00200010", "00201206", "00201208",
    ):  # fmt: skip
        expect(tag in match, f"{tag} is missing")
    expect_equal((value(match, "00201206"), value(match, "00201208")), (2, 4), "series and instances")


@PLAN.requires("IMG-129-122", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The series of a study are found."""
    study = stored(stand)
    matches = sorted(str(value(one, "0020000E")) for one in search(stand, (*of_study(study), "series")))
    expect_equal(matches, sorted({one.series for one in study.images}), "the series")


@PLAN.requires("IMG-129-123", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The instances of a study are found."""
    study = stored(stand)
    matches = sorted(str(value(one, "00080018")) for one in search(stand, (*of_study(study), "instances")))
    expect_equal(matches, sorted(one.uid for one in study.images), "the instances")


@PLAN.requires("IMG-129-124", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """The instances of a series are found."""
    study = stored(stand)
    path = (*of_study(study), "series", study.images[0].series, "instances")
    expect_equal(len(search(stand, path)), 3, "instances")


@PLAN.requires("IMG-129-125", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """limit and offset give a part of the matches, each once."""
    study = stored(stand)
    path = (*of_study(study), "instances")
    pages = [search(stand, path, limit="2", offset=str(place)) for place in (0, 2)]
    matches = [str(value(one, "00080018")) for page in pages for one in page]
    expect_equal(([len(page) for page in pages], len(set(matches))), ([2, 2], 4), "matches of two pages")


@PLAN.requires("IMG-129-126", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """includefield adds an attribute."""
    study = stored(stand)
    (match,) = search(stand, ("studies",), StudyInstanceUID=study.uid, includefield="00081030")
    expect("0020000D" in match, "Study Instance UID is missing")


@PLAN.requires("IMG-129-127", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A search without a match is 204, or 200 with an empty list."""
    reply = get(stand, ("studies",), JSON, f"StudyInstanceUID={stand.oid()}")
    expect(reply.status == 204 or reply.content.strip() == b"[]", f"HTTP {reply.status}")


@PLAN.requires("IMG-129-128", _QIDO, option="QIDO-RS", needs=WEB)
def _(stand: Stand) -> None:
    """A limit that is no number is 400."""
    expect_equal(get(stand, ("studies",), JSON, "limit=many").status, 400, "the HTTP status")


# --- STOW-RS --------------------------------------------------------------------------------------------

_STOW = "DICOM PS3.18 10.5"


@PLAN.requires("IMG-108-101", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """What is stored is named in the answer, and can be had."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    reply = stow(stand, image)
    expect_equal(reply.status, 200, "the HTTP status")
    references = json.loads(reply.content)["00081199"]["Value"]
    expect_equal([value(one, "00081155") for one in references], [image.uid], "Referenced SOP Instance UIDs")
    expect_equal(_uids(instances_of(get(stand, of_instance(image)))), [image.uid], "instances")


@PLAN.requires("IMG-108-102", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """An instance may be stored into its study."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    expect_equal(stow(stand, image, study=image.study).status, 200, "the HTTP status")


@PLAN.requires("IMG-108-103", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """An instance of another study than the address names is 409, and not stored."""
    image = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    reply = stow(stand, image, study=stand.oid())
    expect_equal(reply.status, 409, "the HTTP status")
    expect("00081198" in json.loads(reply.content), "the answer has no Failed SOP Sequence")
    expect_equal(get(stand, of_instance(image)).status, 404, "the HTTP status of the instance")


@PLAN.requires("IMG-108-104", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """What is stored of some and refused of others is 202."""
    good = an_image(stand.oid(), stand.oid(), 1, patient="P1")
    other = an_image(stand.oid(), stand.oid(), 2, patient="P1")
    reply = stow(stand, good, other, study=good.study)
    expect_equal(reply.status, 202, "the HTTP status")
    answer = json.loads(reply.content)
    expect("00081198" in answer and "00081199" in answer, "the answer does not tell both")


@PLAN.requires("IMG-108-105", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """A body of another media type is 415."""
    url = at(stand, "studies")
    reply = stand.http("POST", url, body=b"x", headers={"Content-Type": "text/plain", "Accept": JSON})
    expect_equal(reply.status, 415, "the HTTP status")


@PLAN.requires("IMG-108-106", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """What is no DICOM is refused."""
    broken = Image("1", "1", "1", b"this is no DICOM", "")
    expect(stow(stand, broken).status in (400, 409), "HTTP 400 or 409 would be right")


@PLAN.requires("IMG-108-107", _STOW, needs=WEB)
def _(stand: Stand) -> None:
    """The same instance may be stored again."""
    image = stored(stand).images[0]
    expect(stow(stand, image).status in (200, 202), "HTTP 200 or 202 would be right")


# --- WADO-URI -------------------------------------------------------------------------------------------

_URI = "DICOM PS3.18 9"


def wado(stand: Stand, image: Image, accept: str = "*/*", **changes: str) -> Reply:
    """A request by WADO-URI; an empty change takes a parameter away."""
    usual = {
        "requestType": "WADO",
        "studyUID": image.study,
        "seriesUID": image.series,
        "objectUID": image.uid,
        "contentType": "application/dicom",
    }
    keys = {name: replacements for name, replacements in (usual | changes).items() if replacements}
    url = f"{stand.endpoint('wado')}?{urlencode(keys, quote_via=quote)}"
    return stand.http("GET", url, headers={"Accept": accept})


@PLAN.requires("IMG-55-101", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance comes as a DICOM file."""
    image = stored(stand).images[0]
    reply = wado(stand, image)
    expect_equal((reply.status, reply.media_type), (200, "application/dicom"), "status and media type")
    expect_same(dcmread(BytesIO(reply.content)), image)


@PLAN.requires("IMG-55-102", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance comes as a JPEG."""
    reply = wado(stand, stored(stand).images[0], "image/jpeg", contentType="image/jpeg")
    expect_equal((reply.status, reply.media_type), (200, "image/jpeg"), "status and media type")


for _number, _parameter in enumerate(("requestType", "studyUID", "seriesUID", "objectUID"), 3):

    def _missing(stand: Stand, parameter: str = _parameter) -> None:
        expect_equal(wado(stand, stored(stand).images[0], **{parameter: ""}).status, 400, "the HTTP status")

    PLAN.add(
        f"IMG-55-10{_number}",
        _URI,
        f"a request without {_parameter} is 400",
        _missing,
        option="WADO-URI",
        needs=URI,
    )


@PLAN.requires("IMG-55-107", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """An instance that nobody knows is 404."""
    expect_equal(wado(stand, stored(stand).images[0], objectUID=stand.oid()).status, 404, "the HTTP status")


@PLAN.requires("IMG-55-108", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """A transfer syntax that cannot be given is 406."""
    reply = wado(stand, stored(stand).images[0], transferSyntax="2.25.1")
    expect(reply.status in (400, 406), f"HTTP {reply.status}, and 406 would be right")


@PLAN.requires("IMG-55-109", _URI, option="WADO-URI", needs=URI)
def _(stand: Stand) -> None:
    """A frame beyond the last one is 400 or 404."""
    reply = wado(stand, stored(stand).frames, "image/jpeg", contentType="image/jpeg", frameNumber="9")
    expect(reply.status in (400, 404), f"HTTP {reply.status}")
