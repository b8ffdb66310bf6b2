"""Store by C-STORE (RAD-18), and what an application entity says of itself."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmread
from pynetdicom import build_context

from conformance.instances import Image, an_image
from conformance.plans.dimse import (
    DIMSE,
    STUDY_FIND,
    SUCCESS,
    VERIFICATION,
    associated,
    find,
    identifier,
    keep,
    status_of,
    store,
)
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source", needs=DIMSE)
_STORE, _UPPER = "DICOM PS3.4 B.2.3", "DICOM PS3.8 9.3.3"
_WARNINGS = (SUCCESS, 0xB000, 0xB006, 0xB007)


def _image(stand: Stand, *, rle: bool = False) -> Image:
    return an_image(stand.oid(), stand.oid(), 1, patient="P1", rle=rle)


@PLAN.requires("IMG-18-101", "DICOM PS3.4 A.4")
def _(stand: Stand) -> None:
    """C-ECHO is answered with success."""
    with associated(stand, [build_context(VERIFICATION)]) as association:
        response = association.send_c_echo()
    keep(stand, "C-ECHO", "", response)
    expect_equal(status_of(response), SUCCESS, "the status")


@PLAN.requires("IMG-18-102", _STORE)
def _(stand: Stand) -> None:
    """An instance is stored with success."""
    (response,) = store(stand, _image(stand))
    expect_equal(status_of(response), SUCCESS, "the status")


@PLAN.requires("IMG-18-103", _STORE, option="C-FIND")
def _(stand: Stand) -> None:
    """What is stored with success is found at once."""
    image = _image(stand)
    store(stand, image)
    keys = identifier(
        "IMAGE", StudyInstanceUID=image.study, SeriesInstanceUID=image.series, SOPInstanceUID=""
    )
    expect_equal([str(one.SOPInstanceUID) for one in find(stand, keys).matches], [image.uid], "instances")


@PLAN.requires("IMG-18-104", _STORE)
def _(stand: Stand) -> None:
    """The same instance may be stored again."""
    image = _image(stand)
    for response in store(stand, image, image):
        expect(status_of(response) in _WARNINGS, f"the status is {status_of(response):04X}H")


@PLAN.requires("IMG-18-105", _STORE)
def _(stand: Stand) -> None:
    """An instance in RLE Lossless is stored."""
    (response,) = store(stand, _image(stand, rle=True))
    expect_equal(status_of(response), SUCCESS, "the status")


@PLAN.requires("IMG-18-106", _STORE)
def _(stand: Stand) -> None:
    """An instance of no study is refused: no success is said of what can never be found."""
    image = _image(stand)
    data_set = dcmread(BytesIO(image.octets))
    del data_set.StudyInstanceUID
    with associated(
        stand, [build_context(data_set.SOPClassUID, data_set.file_meta.TransferSyntaxUID)]
    ) as association:
        response = association.send_c_store(data_set)
    keep(stand, "C-STORE", data_set, response)
    expect(status_of(response) >= 0xA000 and status_of(response) not in _WARNINGS, "it was taken")


@PLAN.requires("IMG-18-107", _UPPER)
def _(stand: Stand) -> None:
    """What is not supported is rejected in its presentation context, and the association stays."""
    contexts = [build_context(VERIFICATION), build_context("1.2.840.10008.5.1.4.999.404")]
    with associated(stand, contexts) as association:
        results = {str(one.abstract_syntax): one.result for one in association.rejected_contexts}
        response = association.send_c_echo()
    expect_equal(
        results, {"1.2.840.10008.5.1.4.999.404": 3}, "rejected contexts (abstract syntax not supported)"
    )
    expect_equal(status_of(response), SUCCESS, "the status of C-ECHO")


@PLAN.requires("IMG-18-108", "DICOM PS3.7 D.3.3.2")
def _(stand: Stand) -> None:
    """The entity names its implementation by a UID."""
    with associated(stand, [build_context(STUDY_FIND), build_context(VERIFICATION)]) as association:
        uid = association.acceptor.implementation_class_uid
    expect(uid is not None and uid.is_valid, "there is no Implementation Class UID")
