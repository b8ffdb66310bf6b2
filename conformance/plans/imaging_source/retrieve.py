"""Retrieve Imaging Document Set (RAD-69)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from conformance.envelopes import Envelope
from conformance.instances import COLUMNS, EXPLICIT, JPEG_LOSSLESS, RLE, ROWS, Image, pixels
from conformance.plans import soap
from conformance.plans.images import expect_same, stored
from conformance.plans.message import Reply
from conformance.plans.probe import NotOffered, Plan, expect, expect_equal
from conformance.plans.repository import requested
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
RETRIEVE = "urn:ihe:rad:2009:RetrieveImagingDocumentSet"
RESPONSE = "urn:ihe:iti:2007:RetrieveDocumentSetResponse"
SOURCE = ("source",)


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


DOOR = soap.Door(
    "source",
    RETRIEVE,
    RESPONSE,
    True,
    lambda stand: asked("2.25.1", [("2.25.2", "2.999.404", stand.oid())]),
)
soap.state(PLAN, "SRC", DOOR)


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
