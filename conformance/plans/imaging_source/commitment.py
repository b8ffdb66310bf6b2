"""Storage Commitment, push model (RAD-10)."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pynetdicom import build_context, evt

from conformance.instances import CT, MULTIFRAME
from conformance.plans.dimse import (
    COMMITMENT,
    COMMITMENT_INSTANCE,
    DIMSE,
    SUCCESS,
    associated,
    keep,
    listener,
    status_of,
)
from conformance.plans.images import stored
from conformance.plans.probe import Plan, Unmet, expect, expect_equal
from conformance.plans.stand import Stand

PLAN = Plan("imaging-source", needs=DIMSE, begin=listener)
_OPTION, _REQUEST, _RESULT = "Storage Commitment", "DICOM PS3.4 J.3.2", "DICOM PS3.4 J.3.3"
_NO_SUCH_INSTANCE, _CONFLICT = 0x0112, 0x0119
_COMMITTED, _FAILURES = 1, 2


def _request(stand: Stand, *instances: tuple[str, str]) -> Dataset:
    """Action information about instances by SOP class and UID."""
    action = Dataset()
    action.TransactionUID = stand.oid()
    action.ReferencedSOPSequence = []
    for sop_class, uid in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        action.ReferencedSOPSequence.append(item)
    return action


def _asked(stand: Stand, action: Dataset) -> int:
    """The status by which the request is answered."""
    listening = listener(stand)
    with associated(
        stand, [build_context(COMMITMENT)], handlers=[(evt.EVT_N_EVENT_REPORT, listening.reported)]
    ) as association:
        response, _ = association.send_n_action(action, 1, COMMITMENT, COMMITMENT_INSTANCE)
    keep(stand, "N-ACTION", action, response)
    return status_of(response)


def _result(stand: Stand, *instances: tuple[str, str]) -> tuple[int, Dataset]:
    """Event type and content of the result about these instances."""
    action = _request(stand, *instances)
    expect_equal(_asked(stand, action), SUCCESS, "the status of N-ACTION")
    report = stand.until(lambda: listener(stand).report_of(action.TransactionUID))
    if report is None:
        raise Unmet(f"no N-EVENT-REPORT came within {stand.target.patience_seconds:g} s")
    event_type, result = report
    keep(stand, "N-EVENT-REPORT", f"event type {event_type}", result)
    return event_type, result


def _uids(result: Dataset, keyword: str) -> list[str]:
    return sorted(str(item.ReferencedSOPInstanceUID) for item in result.get(keyword) or ())


@PLAN.requires("IMG-10-101", _RESULT, option=_OPTION)
def _(stand: Stand) -> None:
    """What is stored is committed: a success that names every instance, and no failure."""
    images = stored(stand).images
    event_type, result = _result(stand, *((CT, one.uid) for one in images))
    expect_equal(event_type, _COMMITTED, "the event type")
    expect_equal(_uids(result, "ReferencedSOPSequence"), sorted(one.uid for one in images), "the instances")
    expect("FailedSOPSequence" not in result, "a success has a Failed SOP Sequence")


@PLAN.requires("IMG-10-102", _RESULT, option=_OPTION)
def _(stand: Stand) -> None:
    """What nobody stored fails as 0112H, beside what is committed."""
    image, stranger = stored(stand).images[0], stand.oid()
    event_type, result = _result(stand, (CT, image.uid), (CT, stranger))
    expect_equal(event_type, _FAILURES, "the event type")
    expect_equal(_uids(result, "ReferencedSOPSequence"), [image.uid], "the committed instances")
    expect_equal(_uids(result, "FailedSOPSequence"), [stranger], "the failed instances")
    expect_equal(f"{result.FailedSOPSequence[0].FailureReason:04X}", f"{_NO_SUCH_INSTANCE:04X}", "the reason")


@PLAN.requires("IMG-10-103", _RESULT, option=_OPTION)
def _(stand: Stand) -> None:
    """What is stored as an instance of another SOP class fails as 0119H."""
    image = stored(stand).images[0]
    event_type, result = _result(stand, (MULTIFRAME, image.uid))
    expect_equal(event_type, _FAILURES, "the event type")
    expect_equal(f"{result.FailedSOPSequence[0].FailureReason:04X}", f"{_CONFLICT:04X}", "the reason")


@PLAN.requires("IMG-10-104", _RESULT, option=_OPTION)
def _(stand: Stand) -> None:
    """What is committed says where it can be had, once."""
    image = stored(stand).images[0]
    _, result = _result(stand, (CT, image.uid))
    within = [item.get("RetrieveAETitle") for item in result.ReferencedSOPSequence]
    expect(
        not (result.get("RetrieveAETitle") and any(within)), "Retrieve AE Title outside and within the items"
    )


@PLAN.requires("IMG-10-105", _REQUEST, option=_OPTION)
def _(stand: Stand) -> None:
    """A request without Transaction UID is refused."""
    action = _request(stand, (CT, stored(stand).images[0].uid))
    del action.TransactionUID
    expect(_asked(stand, action) != SUCCESS, "it was taken, and nobody could be told the result")


@PLAN.requires("IMG-10-106", _REQUEST, option=_OPTION)
def _(stand: Stand) -> None:
    """A request that names no instance is refused."""
    expect(_asked(stand, _request(stand)) != SUCCESS, "it was taken")
