"""Search by C-FIND (RAD-14)."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset

from conformance.plans.dimse import DIMSE, PATIENT_FIND, STUDY_FIND, SUCCESS, Responses, find, identifier
from conformance.plans.images import Study, stored
from conformance.plans.probe import Plan, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source", needs=DIMSE)
_FIND, _RESPONSE = "DICOM PS3.4 C.4.1.1", "DICOM PS3.4 C.4.1.1.3.2"
_OPTION = "C-FIND"


def _found(stand: Stand, keys: Dataset, model: str = STUDY_FIND) -> list[Dataset]:
    """The matches of a search that succeeds."""
    responses = find(stand, keys, model)
    expect_equal(responses.status, SUCCESS, "the final status")
    return responses.matches


def _studies(stand: Stand, **keys: str) -> list[str]:
    matches = _found(stand, identifier("STUDY", **{"StudyInstanceUID": "", **keys}))
    return [str(one.StudyInstanceUID) for one in matches]


_KEYS: tuple[tuple[str, Callable[[Study], str], str], ...] = (
    ("StudyInstanceUID", lambda study: study.uid, "2.25.404"),
    ("PatientID", lambda study: study.images[0].patient, "NOBODY"),
    ("AccessionNumber", lambda study: f"A{study.uid[-8:]}", "NONE"),
)
for _number, (_key, _right, _wrong) in enumerate(_KEYS, 1):

    def _matched(
        stand: Stand, key: str = _key, right: Callable[[Study], str] = _right, wrong: str = _wrong
    ) -> None:
        study = stored(stand)
        expect(study.uid in _studies(stand, **{key: right(study)}), f"{key} does not find the study")
        expect_equal(_studies(stand, **{key: wrong}), [], "matches of another value")

    PLAN.add(
        f"IMG-14-10{_number}",
        _FIND,
        f"studies are found by {_key}, and by another value not",
        _matched,
        option=_OPTION,
    )

_NARROWING = (
    ("StudyDate", "20240305", "19000101"),
    ("StudyDate", "20240301-20240331", "19000101-19000102"),
    ("StudyDate", "20240301-", "-19000102"),
    ("ModalitiesInStudy", "CT", "PX"),
    ("PatientName", "Probe*", "Nobody*"),
    ("PatientName", "Prob?^Rick", "Prob?^Rock"),
)
for _number, (_key, _value, _other) in enumerate(_NARROWING, 11):

    def _narrowed(stand: Stand, key: str = _key, right: str = _value, wrong: str = _other) -> None:
        study = stored(stand)
        keys = {"StudyInstanceUID": study.uid}
        expect_equal(_studies(stand, **keys, **{key: right}), [study.uid], "matches")
        expect_equal(_studies(stand, **keys, **{key: wrong}), [], "matches of another value")

    PLAN.add(
        f"IMG-14-1{_number}",
        "DICOM PS3.4 C.2.2.2",
        f"{_key}={_value} narrows a search of studies",
        _narrowed,
        option=_OPTION,
    )


def _of_study(stand: Stand, level: str, **keys: str) -> Responses:
    return find(stand, identifier(level, StudyInstanceUID=stored(stand).uid, **keys))


@PLAN.requires("IMG-14-121", _RESPONSE, option=_OPTION)
def _(stand: Stand) -> None:
    """Every match says its level, its study, and where it can be had."""
    (match,) = _of_study(stand, "STUDY", PatientName="").matches
    expect_equal(str(match.get("QueryRetrieveLevel", "")).strip(), "STUDY", "Query/Retrieve Level")
    expect_equal(str(match.StudyInstanceUID), stored(stand).uid, "Study Instance UID")
    is_told = match.get("RetrieveAETitle") or match.get("StorageMediaFileSetID")
    expect(is_told, "neither Retrieve AE Title nor Storage Media File-Set ID")


@PLAN.requires("IMG-14-122", _RESPONSE, option=_OPTION)
def _(stand: Stand) -> None:
    """Required keys that are asked for come with their values."""
    (match,) = _of_study(
        stand,
        "STUDY",
        StudyDate="",
        StudyTime="",
        AccessionNumber="",
        PatientName="",
        PatientID="",
        StudyID="",
    ).matches
    image = stored(stand).images[0].dataset
    for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "PatientName", "PatientID", "StudyID"):
        expect(keyword in match, f"{keyword} is missing")
        expect_equal(str(match[keyword].value), str(image[keyword].value), keyword)


@PLAN.requires("IMG-14-123", _RESPONSE, option=_OPTION)
def _(stand: Stand) -> None:
    """What was not asked for, and does not identify, does not come."""
    (match,) = _of_study(stand, "STUDY").matches
    expect("PatientBirthDate" not in match, "Patient's Birth Date came, and was not asked for")


@PLAN.requires("IMG-14-124", _FIND, option=_OPTION)
def _(stand: Stand) -> None:
    """The series of a study are found, each with its modality."""
    matches = _of_study(stand, "SERIES", SeriesInstanceUID="", Modality="").matches
    expect_equal(
        sorted((str(one.SeriesInstanceUID), one.Modality) for one in matches),
        sorted({(one.series, "CT") for one in stored(stand).images}),
        "the series",
    )


@PLAN.requires("IMG-14-125", _FIND, option=_OPTION)
def _(stand: Stand) -> None:
    """The instances of a series are found."""
    first = stored(stand).images[0]
    matches = _of_study(stand, "IMAGE", SeriesInstanceUID=first.series, SOPInstanceUID="").matches
    right = sorted(one.uid for one in stored(stand).images if one.series == first.series)
    expect_equal(sorted(str(one.SOPInstanceUID) for one in matches), right, "the instances")


@PLAN.requires("IMG-14-126", "DICOM PS3.4 C.2.2.2.2", option=_OPTION)
def _(stand: Stand) -> None:
    """A list of UIDs finds the study of each."""
    study = stored(stand)
    keys = identifier("STUDY", StudyInstanceUID=[study.uid, study.frames.study, "2.25.404"])
    matches = [str(one.StudyInstanceUID) for one in _found(stand, keys)]
    expect_equal(sorted(matches), sorted((study.uid, study.frames.study)), "the studies")


@PLAN.requires("IMG-14-127", "DICOM PS3.4 C.4.1.1.4", option=_OPTION)
def _(stand: Stand) -> None:
    """Matches are pending, and the last response is a success without an identifier."""
    responses = _of_study(stand, "STUDY")
    expect_equal(len(responses.pending), 1, "pending responses")
    expect_equal(responses.status, SUCCESS, "the final status")
    expect(responses.last_identifier is None, "the last response has an identifier")


@PLAN.requires("IMG-14-128", "DICOM PS3.4 C.4.1.1.4", option=_OPTION)
def _(stand: Stand) -> None:
    """A search without a match is a success without a match."""
    responses = find(stand, identifier("STUDY", StudyInstanceUID=stand.oid()))
    expect_equal((len(responses.pending), responses.status), (0, SUCCESS), "pending responses, and status")


@PLAN.requires("IMG-14-129", "DICOM PS3.4 C.4.1.1.4", option=_OPTION)
def _(stand: Stand) -> None:
    """A level that there is not is a failure."""
    status = find(stand, identifier("NONSENSE", StudyInstanceUID="2.25.1")).status
    expect(
        status == 0xA900 or status & 0xF000 == 0xC000, f"the status is {status:04X}H, and not A900H or Cxxx"
    )


@PLAN.requires("IMG-14-130", "DICOM PS3.4 C.6.1", option=_OPTION)
def _(stand: Stand) -> None:
    """By the Patient Root model a patient is found, once."""
    patient = stored(stand).images[0].patient
    matches = _found(stand, identifier("PATIENT", PatientID=patient, PatientName=""), PATIENT_FIND)
    expect_equal([str(one.PatientID) for one in matches], [patient], "the patients")
