"""What a publication waits for, or why it failed, in a sentence for the people who run the source."""

from __future__ import annotations

from datetime import UTC, datetime

from imaging_source.domain.reconciliation import UNKNOWN_PATIENT
from imaging_source.store.publications import PublicationState, PublicationStatus


def explanation(publication: PublicationStatus) -> str:
    """Why a publication is not registered, and what would help; empty for one that is or was replaced."""
    match publication.state:
        case PublicationState.WAITING:
            return _waiting(publication)
        case PublicationState.REFUSED:
            return f"it was refused ({_errors(publication)}); correct that, then retry"
        case PublicationState.ABANDONED:
            return (
                f"it was tried for a day ({_errors(publication)}), and nobody knows whether it is registered;"
                " retry when repository and registry answer"
            )
        case PublicationState.WITHDRAWN:
            return (
                "it is not registered: it was withdrawn, or others deprecated or removed it;"
                " retry publishes the study anew"
            )
        case _:
            return ""


def _waiting(publication: PublicationStatus) -> str:
    codes = {error.code for error in publication.errors}
    if UNKNOWN_PATIENT in codes:
        return (
            f"it waits until the registry knows the patient {publication.patient_id} (xdsi patient add), and"
            " goes by itself then; publish the study with --patient if that is not the patient"
        )
    if not publication.attempts:
        return "it is about to be sent"
    due = datetime.fromtimestamp(publication.due / 1000, UTC)
    again = f"it is tried again by itself at {due:%Y-%m-%d %H:%M:%S} UTC"
    if codes & {"withdrawal-unanswered", "withdrawal-refused"}:
        reason = _errors(publication)
        return f"the manifest before it is another patient's and cannot be withdrawn ({reason}); {again}"
    if "unreachable" in codes:
        return f"the repository or the registry cannot be reached ({_errors(publication)}); {again}"
    return f"it has no outcome yet ({_errors(publication) or 'no answer'}); {again}"


def _errors(publication: PublicationStatus) -> str:
    return "; ".join(f"{error.code}: {error.context}" for error in publication.errors)
