"""Instances, metadata, frames and renderings by WADO-RS (RAD-107)."""

from __future__ import annotations

import json
from collections.abc import Callable

from conformance.envelopes import parameter
from conformance.instances import COLUMNS, EXPLICIT, IMPLICIT, RLE, ROWS, pixels
from conformance.plans.images import expect_same, stored
from conformance.plans.imaging_source.dicomweb import (
    DICOM_PARTS,
    WEB,
    get,
    instances_of,
    of_instance,
    of_study,
    parts_of,
    uids_of,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source")
_WADO = "DICOM PS3.18 10.4"


@PLAN.requires("IMG-107-101", _WADO, needs=WEB)
def _(stand: Stand) -> None:
    """A study brings all its instances."""
    study = stored(stand)
    expect_equal(
        uids_of(instances_of(get(stand, of_study(study)))),
        sorted(one.uid for one in study.images),
        "instances",
    )


@PLAN.requires("IMG-107-102", _WADO, needs=WEB)
def _(stand: Stand) -> None:
    """A series brings its instances alone."""
    study = stored(stand)
    path = (*of_study(study), "series", study.images[0].series)
    expect_equal(
        uids_of(instances_of(get(stand, path))), sorted(one.uid for one in study.images[:3]), "instances"
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
