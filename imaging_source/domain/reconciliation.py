"""What to do about a manifest when the registry is not as it was taken to be: others deprecate, update,
remove and merge what we registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.messages.registrations import RegisteredDocument, Registrations

#: What a registry says of a manifest that cannot take the place of the one before.
CANNOT_REPLACE: Final = frozenset({"XDSRegistryDeprecatedDocumentError", "UnresolvedReferenceException"})
UNKNOWN_PATIENT: Final = "XDSUnknownPatientId"


@dataclass(frozen=True, slots=True)
class RegisteredManifest:
    """It is registered: an earlier attempt was carried out."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send it in the place of the entry `replaces`, or of none."""

    replaces: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Withdraw entries that are not the patient's, or that stand beside the one to be replaced."""

    documents: tuple[RegisteredDocument, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """It belongs to another patient by now: the one into whom its own was merged, or to whom its entry was
    given."""

    patient_id: str


@dataclass(frozen=True, slots=True)
class AwaitPatient:
    """It waits until the registry knows the patient."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing is other than it was taken to be: the refusal stands."""


Step = RegisteredManifest | Send | Withdraw | Follow | AwaitPatient | Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmittedManifest:
    """A manifest as it was sent, or is about to be; `codes` are the errors that came back."""

    document_unique_id: str
    patient_id: str
    replaces: str
    codes: frozenset[str] = frozenset()


def next_step(
    submitted: SubmittedManifest, registrations: Registrations, patients: Mapping[str, str]
) -> Step:
    """Decide; `patients` are those for whom earlier manifests of the study were registered, by uniqueId."""
    approved = [document for document in registrations.documents if document.approved]
    if registrations.survivor != submitted.patient_id:
        return Follow(registrations.survivor)
    for document in approved:
        given_away = document.patient_id != submitted.patient_id
        if given_away and patients.get(document.unique_id) == submitted.patient_id:
            return Follow(document.patient_id)
    if foreign := tuple(one for one in approved if one.patient_id != submitted.patient_id):
        return Withdraw(foreign)
    if registrations.known is False:
        return AwaitPatient()
    own = [one for one in approved if one.unique_id == submitted.document_unique_id]
    if surplus := tuple(approved[:-1] if not own else [one for one in approved if one not in own[-1:]]):
        return Withdraw(surplus)
    if own:
        return RegisteredManifest()
    if approved:
        return _sent(submitted, approved[0].entry_uuid)
    if registrations.complete or not submitted.codes.isdisjoint(CANNOT_REPLACE):
        return _sent(submitted, "")
    return AwaitPatient() if UNKNOWN_PATIENT in submitted.codes else _sent(submitted, submitted.replaces)


def _sent(submitted: SubmittedManifest, replaces: str) -> Step:
    # What was refused just so is refused again.
    if submitted.codes and replaces == submitted.replaces:
        return AwaitPatient() if submitted.codes == {UNKNOWN_PATIENT} else Refusal()
    return Send(replaces)


def in_order(
    documents: Sequence[RegisteredDocument], unique_ids: Sequence[str]
) -> tuple[RegisteredDocument, ...]:
    """`documents` in the order in which they were submitted."""
    places = {unique_id: at for at, unique_id in enumerate(unique_ids)}
    return tuple(sorted(documents, key=lambda document: places.get(document.unique_id, -1)))
