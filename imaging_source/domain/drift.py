"""What became untrue of a published manifest, or of a report beside it, and who mends it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from enum import StrEnum

from shared.messages.registrations import Registrations


class Drift(StrEnum):
    """How a manifest and what it speaks of came apart."""

    INSTANCES_ADDED = "instances-added"
    INSTANCES_GONE = "instances-gone"
    DESCRIBED_OTHERWISE = "described-otherwise"
    NOTHING_LEFT = "nothing-left"
    OTHER_PATIENT = "other-patient"
    NEW_VERSION = "new-version"
    BUNDLE_GONE = "bundle-gone"
    ENDED_BY_OTHERS = "ended-by-others"
    STUDY_LOST = "study-lost"
    NOT_PUBLISHABLE = "not-publishable"
    ORDER_CANCELLED = "order-cancelled"

    @property
    def needs_person(self) -> bool:
        """Whether it is for a person to decide what is right."""
        return self in _FOR_PERSONS

    @property
    def explanation(self) -> str:
        """What happened, and what was done about it or would help, with its command."""
        return _EXPLANATIONS[self]


_FOR_PERSONS = frozenset(
    {Drift.ENDED_BY_OTHERS, Drift.STUDY_LOST, Drift.NOT_PUBLISHABLE, Drift.ORDER_CANCELLED}
)
_EXPLANATIONS = {
    Drift.INSTANCES_ADDED: "instances came after the manifest was made; it is replaced",
    Drift.INSTANCES_GONE: "instances of the manifest were rejected, set aside or erased; it is replaced",
    Drift.DESCRIBED_OTHERWISE: (
        "patient, study or settings are described otherwise than when the manifest was made; it is replaced"
    ),
    Drift.NOTHING_LEFT: "every instance of the manifest was rejected or set aside; it is withdrawn",
    Drift.OTHER_PATIENT: "its entry was given to another patient, or its patient merged; that is followed",
    Drift.NEW_VERSION: "others made a new version of its entry; the next manifest replaces that",
    Drift.BUNDLE_GONE: (
        "the Bundle of the manifest is registered no more, or for another patient; both are replaced"
    ),
    Drift.ENDED_BY_OTHERS: (
        "others deprecated or removed its entry, which may have been meant;"
        " xdsi publications STUDY_UID --retry publishes the study anew, xdsi publish STUDY_UID --withdraw"
        " lets it be"
    ),
    Drift.STUDY_LOST: (
        "it is registered, and no instance of its study is here; send the study again, or withdraw it:"
        " xdsi publish STUDY_UID --withdraw"
    ),
    Drift.NOT_PUBLISHABLE: (
        "its manifest cannot be made anew, because its instances name no patient of the affinity domain;"
        " name the patient: xdsi publish STUDY_UID --patient ID"
    ),
    Drift.ORDER_CANCELLED: (
        "a message said that the order of its study is cancelled; withdraw it: xdsi publish STUDY_UID"
        " --withdraw, or let the order be completed by another message"
    ),
}


def of_references(registered: Set[str], shareable: Set[str]) -> Iterator[Drift]:
    """How a manifest that names `registered` differs from one of what can be shared now.

    For one that has to be made anew: where both name the same, they are described otherwise.
    """
    if shareable - registered:
        yield Drift.INSTANCES_ADDED
    if registered - shareable:
        yield Drift.INSTANCES_GONE
    if registered == shareable:
        yield Drift.DESCRIBED_OTHERWISE


class ReportDrift(StrEnum):
    """How a report beside a manifest and the registry came apart."""

    NEW_VERSION = "new-version"
    APPROVED_AGAIN = "approved-again"
    ENDED_BY_OTHERS = "ended-by-others"
    GIVEN_AWAY = "given-away"

    @property
    def needs_person(self) -> bool:
        """Whether it is for a person to decide what is right."""
        return self in (ReportDrift.ENDED_BY_OTHERS, ReportDrift.GIVEN_AWAY)


def of_report(
    unique_id: str, entry_uuid: str, patient_id: str, registrations: Registrations
) -> ReportDrift | None:
    """How the entry of a report is other than it is remembered.

    `entry_uuid` is that entry, empty where there was none; `patient_id` that of the manifest. What an
    incomplete answer does not show is not taken for gone.
    """
    versions = [one for one in registrations.documents if one.unique_id == unique_id]
    approved = [one for one in versions if one.approved]
    ours = [one.entry_uuid for one in approved if one.patient_id == patient_id]
    if ours:
        if not entry_uuid:
            return ReportDrift.APPROVED_AGAIN
        return None if entry_uuid in ours else ReportDrift.NEW_VERSION
    if approved:
        return ReportDrift.GIVEN_AWAY
    is_gone = bool(versions) or registrations.complete
    return ReportDrift.ENDED_BY_OTHERS if is_gone and entry_uuid else None
