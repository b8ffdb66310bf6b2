"""The answer of STOW-RS: its status, and the Store Instances Response Module (PS3.18 10.5.3, annex I)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from imaging_source.domain.intake import (
    CANNOT_UNDERSTAND,
    OUT_OF_RESOURCES,
    BeyondLimits,
    Refused,
    StoredInstance,
)
from shared.http.problem import HttpProblem
from shared.imaging.instance import Instance

_RETRIEVE_URL: Final = "00081190"
_SOP_CLASS: Final = "00081150"
_SOP_INSTANCE: Final = "00081155"
_FAILURE_REASON: Final = "00081197"
_WARNING_REASON: Final = "00081196"
_FAILED: Final = "00081198"
_REFERENCED: Final = "00081199"
_OTHER_FAILURES: Final = "0008119A"
# Of our own, since the module has only numbers: the reason in words, which tells the sender more.
_CREATOR: Final = "00090010"
_REASON: Final = "00091001"
_CREATOR_NAME: Final = "XDSI STOW"

Outcome = StoredInstance | Refused


@dataclass(frozen=True, slots=True)
class Results:
    """What became of the parts, in their order; `problem` ended the request before its end."""

    outcomes: tuple[Outcome, ...]
    problem: HttpProblem | None = None

    @property
    def stored(self) -> tuple[StoredInstance, ...]:
        """What is kept, new or known before."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, StoredInstance))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What had to be tolerated of what is kept, each sentence once."""
        return tuple(dict.fromkeys(warning for stored in self.stored for warning in stored.warnings))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """What is not kept."""
        return tuple(outcome for outcome in self.outcomes if isinstance(outcome, Refused))


def status_of(results: Results) -> HTTPStatus:
    """The status of the answer.

    200 all stored, 202 some, or some with warnings. None stored: 400 when no part could be read, 413 when all
    are beyond limits, 507 when space lacks, 409 for anything else and for mixed reasons; what ended the
    request early has the first word.
    """
    if results.stored:
        whole = not (results.refused or results.problem or results.warnings)
        return HTTPStatus.OK if whole else HTTPStatus.ACCEPTED
    if results.problem:
        return results.problem.status
    if all(isinstance(refused, BeyondLimits) for refused in results.refused):
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    if all(refused.status & 0xF000 == CANNOT_UNDERSTAND for refused in results.refused):
        return HTTPStatus.BAD_REQUEST
    if all(refused.status == OUT_OF_RESOURCES for refused in results.refused):
        return HTTPStatus.INSUFFICIENT_STORAGE
    return HTTPStatus.CONFLICT


def results_module(results: Results, base: str, study_instance_uid: str) -> dict[str, Any]:
    """The Store Instances Response Module in the DICOM JSON model; `base` is the base URI of the service."""
    studies = {stored.instance.study_instance_uid for stored in results.stored}
    study = study_instance_uid or (studies.pop() if len(studies) == 1 else "")
    identified = [refused for refused in results.refused if refused.claim.sop_instance_uid]
    unknown = [refused for refused in results.refused if not refused.claim.sop_instance_uid]
    module = {
        _RETRIEVE_URL: _value("UR", f"{base}/studies/{study}" if study and results.stored else None),
        _FAILED: _sequence([_failed(refused) for refused in identified]),
        _REFERENCED: _sequence([_stored(stored, base) for stored in results.stored]),
        _OTHER_FAILURES: _sequence([_reason(refused) for refused in unknown]),
    }
    return {tag: element for tag, element in module.items() if tag == _RETRIEVE_URL or "Value" in element}


def _stored(stored: StoredInstance, base: str) -> dict[str, Any]:
    warned = {
        _WARNING_REASON: _value("US", stored.status),
        _CREATOR: _value("LO", _CREATOR_NAME),
        _REASON: _value("LT", "; ".join(stored.warnings)),
    }
    return _reference(stored.instance, base) | (warned if stored.warnings else {})


def _reference(instance: Instance, base: str) -> dict[str, Any]:
    place = f"{base}/studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
    return {
        _SOP_CLASS: _value("UI", instance.sop_class_uid),
        _SOP_INSTANCE: _value("UI", instance.sop_instance_uid),
        _RETRIEVE_URL: _value("UR", f"{place}/instances/{instance.sop_instance_uid}"),
    }


def _failed(refused: Refused) -> dict[str, Any]:
    return {
        _SOP_CLASS: _value("UI", refused.claim.sop_class_uid or None),
        _SOP_INSTANCE: _value("UI", refused.claim.sop_instance_uid),
        **_reason(refused),
    }


def _reason(refused: Refused) -> dict[str, Any]:
    return {
        _FAILURE_REASON: _value("US", refused.status),
        _CREATOR: _value("LO", _CREATOR_NAME),
        _REASON: _value("LT", refused.reason),
    }


def reason_of(item: Mapping[str, Any]) -> str:
    """The reason in words of an item of the answer, empty when it has none."""
    if item.get(_CREATOR, {}).get("Value") != [_CREATOR_NAME]:
        return ""
    return str(item.get(_REASON, {}).get("Value", [""])[0])


def _value(vr: str, value: str | int | None) -> dict[str, Any]:
    return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}


def _sequence(items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}
