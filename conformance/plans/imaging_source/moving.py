"""Retrieve by C-MOVE and C-GET (RAD-16)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset

from conformance.instances import CT, MULTIFRAME, RLE, Image, pixels
from conformance.plans.dimse import (
    DIMSE,
    SUCCESS,
    Arrival,
    Responses,
    get,
    identifier,
    listener,
    move,
    ours,
)
from conformance.plans.images import Study, expect_same, stored
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source", needs=DIMSE, begin=listener)
_MOVE, _GET = "DICOM PS3.4 C.4.2.1", "DICOM PS3.4 C.4.3.1"
_WARNING, _ALL_FAILED, _NO_DESTINATION = 0xB000, 0xA702, 0xA801


def _of_study(study: Study) -> Dataset:
    return identifier("STUDY", StudyInstanceUID=study.uid)


def _of_image(image: Image) -> Dataset:
    return identifier(
        "IMAGE",
        StudyInstanceUID=image.study,
        SeriesInstanceUID=image.series,
        SOPInstanceUID=image.uid,
    )


def _uids(data_sets: Sequence[Dataset]) -> list[str]:
    return sorted(str(one.SOPInstanceUID) for one in data_sets)


_LEVELS: tuple[tuple[str, Callable[[Study], Dataset], int], ...] = (
    ("a study", _of_study, 4),
    (
        "a series",
        lambda study: identifier(
            "SERIES", StudyInstanceUID=study.uid, SeriesInstanceUID=study.images[0].series
        ),
        3,
    ),
    ("an instance", lambda study: _of_image(study.images[0]), 1),
)


def _complete(responses: Responses, data_sets: Sequence[Dataset], images: Sequence[Image]) -> None:
    """Every instance came, once, and is counted."""
    expect_equal(responses.status, SUCCESS, "the final status")
    expect_equal(_uids(data_sets), sorted(one.uid for one in images), "instances")
    counts = tuple(responses.count(one) for one in ("Completed", "Failed", "Warning"))
    expect_equal(counts, (len(images), 0, 0), "completed, failed and warned sub-operations")


for _number, (_what, _keys, _length) in enumerate(_LEVELS, 1):

    def _gets(stand: Stand, keys: Callable[[Study], Dataset] = _keys, length: int = _length) -> None:
        study = stored(stand)
        responses = get(stand, keys(study))
        _complete(responses, responses.data_sets, study.images[:length])

    def _moves(stand: Stand, keys: Callable[[Study], Dataset] = _keys, length: int = _length) -> None:
        study = stored(stand)
        responses, arrivals = move(stand, keys(study))
        _complete(responses, [one.data_set for one in arrivals], study.images[:length])

    PLAN.add(f"IMG-16-10{_number}", _GET, f"C-GET brings {_what}, counted", _gets, option="C-GET")
    PLAN.add(f"IMG-16-20{_number}", _MOVE, f"C-MOVE sends {_what}, counted", _moves, option="C-MOVE")


def _same(data_set: Dataset, image: Image, number: int) -> None:
    expect_same(data_set, image)
    expect(data_set.PixelData == pixels(number), "the pixels differ")


@PLAN.requires("IMG-16-104", _GET, option="C-GET")
def _(stand: Stand) -> None:
    """C-GET brings an instance as it was stored."""
    image = stored(stand).images[1]
    (data_set,) = get(stand, _of_image(image)).data_sets
    _same(data_set, image, 2)


@PLAN.requires("IMG-16-105", _GET, option="C-GET")
def _(stand: Stand) -> None:
    """C-GET of a study that nobody knows brings nothing, and is a success."""
    responses = get(stand, identifier("STUDY", StudyInstanceUID=stand.oid()))
    expect_equal((responses.status, len(responses.data_sets)), (SUCCESS, 0), "status and instances")


@PLAN.requires("IMG-16-106", "DICOM PS3.4 C.4.3.1.3", option="C-GET")
def _(stand: Stand) -> None:
    """An instance that C-GET cannot bring is counted as failed, and named."""
    image = stored(stand).frames
    responses = get(stand, _of_image(image), classes=(CT,))
    _told_as_failed(responses, image)


def _told_as_failed(responses: Responses, image: Image) -> None:
    expect(responses.status in (_WARNING, _ALL_FAILED), f"the status is {responses.status:04X}H")
    expect_equal(responses.count("Failed"), 1, "failed sub-operations")
    listed = (responses.last_identifier or Dataset()).get("FailedSOPInstanceUIDList")
    uids = [listed] if isinstance(listed, str) else list(listed or ())
    expect_equal([str(uid) for uid in uids], [image.uid], "Failed SOP Instance UID List")


@PLAN.requires("IMG-16-107", _GET, option="C-GET")
def _(stand: Stand) -> None:
    """C-GET brings every frame of a multi-frame instance."""
    image = stored(stand).frames
    (data_set,) = get(stand, _of_image(image), classes=(MULTIFRAME,)).data_sets
    expect_equal(int(data_set.NumberOfFrames), 3, "Number of Frames")
    expect(data_set.PixelData == pixels(5, 3), "the pixels differ")


@PLAN.requires("IMG-16-204", _MOVE, option="C-MOVE")
def _(stand: Stand) -> None:
    """C-MOVE sends an instance as it was stored."""
    image = stored(stand).images[2]
    _, (arrival,) = move(stand, _of_image(image))
    _same(arrival.data_set, image, 3)


@PLAN.requires("IMG-16-205", "DICOM PS3.7 9.1.1.1", option="C-MOVE")
def _(stand: Stand) -> None:
    """What C-MOVE sends says who asked for it, and by which message."""
    _, arrivals = move(stand, _of_study(stored(stand)))
    originators = {arrival.originator for arrival in arrivals}
    expect_equal(len(originators), 1, "the number of Move Originators")
    ((title, message_id),) = originators
    expect_equal(title, ours(stand).title, "Move Originator Application Entity Title")
    expect(message_id > 0, "Move Originator Message ID is absent")


@PLAN.requires("IMG-16-206", "DICOM PS3.4 C.4.2.1.5", option="C-MOVE")
def _(stand: Stand) -> None:
    """A destination that nobody knows is A801H, and nothing is sent."""
    responses, arrivals = move(stand, _of_study(stored(stand)), "NOWHERE404")
    expect_equal(
        (f"{responses.status:04X}", len(arrivals)), (f"{_NO_DESTINATION:04X}", 0), "status, instances"
    )


@PLAN.requires("IMG-16-207", _MOVE, option="C-MOVE")
def _(stand: Stand) -> None:
    """C-MOVE of a study that nobody knows sends nothing, and is a success."""
    responses, arrivals = move(stand, identifier("STUDY", StudyInstanceUID=stand.oid()))
    expect_equal((responses.status, len(arrivals)), (SUCCESS, 0), "status and instances")


@PLAN.requires("IMG-16-208", "DICOM PS3.4 C.4.2.1.8", option="C-MOVE")
def _(stand: Stand) -> None:
    """The last response counts no remaining sub-operations."""
    responses, _ = move(stand, _of_study(stored(stand)))
    remaining = responses.last.get("NumberOfRemainingSuboperations")
    expect(remaining is None, f"Number of Remaining Sub-operations is {remaining}")


@PLAN.requires("IMG-16-209", _MOVE, option="C-MOVE")
def _(stand: Stand) -> None:
    """An instance goes in the transfer syntax in which it is stored to who takes that."""
    image = stored(stand).compressed
    _, arrivals = move(stand, _of_image(image))
    expect_equal(_syntaxes(arrivals), [RLE], "Transfer Syntax UIDs")
    expect(arrivals[0].data_set.PixelData == image.dataset.PixelData, "the pixels differ")


def _syntaxes(arrivals: Sequence[Arrival]) -> list[str]:
    return [str(one.data_set.file_meta.TransferSyntaxUID) for one in arrivals]
