"""Provide and Register Document Set-b [ITI-41], initiating side, which is RAD-68 for manifests and reports
(RAD TF-3 4.68): one attempt, and what its answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from imaging_source.store.publications import PublicationError, PublicationState
from imaging_source.unit import Parts
from shared.audit import patterns
from shared.audit.events import AuditEvent, Outcome
from shared.audit.patterns import Side
from shared.ebrim.codec import decode_submission
from shared.ebrim.model import Submission
from shared.errors import Actor, Severity, XdsError
from shared.faults import WSSE, ReceiverFault
from shared.messages.iti41 import ITI41, RAD68, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.registry import RegistryResponse, Status
from shared.security.caller import Caller
from shared.soap.client import PeerUnclear, PeerUnreachable
from shared.soap.envelope import RelayedFault
from shared.xml import NS, parse

SEND_SECONDS: Final = 40.0

# The repository or the registry cannot do it now; nothing is wrong with the message.
_PASSING: Final = frozenset(
    {
        "XDSRegistryNotAvailable",
        "XDSRegistryBusy",
        "XDSRegistryOutOfResources",
        "XDSRepositoryBusy",
        "XDSRepositoryOutOfResources",
    }
)
_DUPLICATE: Final = "XDSDuplicateUniqueIdInRegistry"

_RIM: Final = f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}"'.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What one attempt brought: the new state, what came back, and whether anything was sent at all.

    `certain` tells that nothing is registered, by this attempt or by an earlier one.
    """

    state: PublicationState
    errors: tuple[PublicationError, ...] = ()
    in_doubt: bool = False
    sent: bool = True
    certain: bool = False


def frozen(encoded: bytes) -> Submission:
    """A submission as an outbox keeps it."""
    declared = encoded.replace(b"<rim:RegistryObjectList", _RIM, 1)
    submission = decode_submission(parse(declared)).submission
    if submission is None:
        raise ValueError("what is to be sent is no readable submission")
    return submission


async def send(
    parts: Parts, submission: Submission, contents: Sequence[bytes], *, message_id: str, in_doubt: bool
) -> Attempt:
    """Send documents with their metadata, `contents` in the order of the entries; `in_doubt` tells that the
    same message may have been carried out before."""
    documents = tuple(
        ProvidedDocument(id=entry.entry_uuid, content=content)
        for entry, content in zip(submission.document_entries, contents, strict=True)
    )
    try:
        response = await parts.repository.call(
            ITI41,
            parts.settings.repository_url,
            ProvideAndRegisterRequest.of(submission, documents),
            message_id=message_id,
            timeout_seconds=SEND_SECONDS,
        )
    except PeerUnreachable as error:
        unreachable = PublicationError("unreachable", error.reason)
        return Attempt(state=PublicationState.WAITING, errors=(unreachable,), sent=False)
    except PeerUnclear as error:
        unclear = PublicationError("unclear", error.reason)
        return Attempt(state=PublicationState.WAITING, errors=(unclear,), in_doubt=True)
    except RelayedFault as fault:
        return _faulted(fault)
    return answered(response, submission, in_doubt=in_doubt)


def _faulted(fault: RelayedFault) -> Attempt:
    """A fault of the repository passes; so does one of security, which says nothing of the message itself."""
    ours = fault.subcode is not None and fault.subcode[0] == WSSE
    theirs = fault.fault_code == ReceiverFault.code
    return Attempt(
        state=PublicationState.WAITING if ours or theirs else PublicationState.REFUSED,
        errors=(PublicationError(f"soap:{fault.fault_code}", fault.reason),),
        in_doubt=theirs,
    )


def answered(response: RegistryResponse, submission: Submission, *, in_doubt: bool) -> Attempt:
    """What a response means for what was sent.

    Our own SubmissionSet is a duplicate only when an earlier attempt was carried out whose answer got lost.
    """
    errors = tuple(map(_relayed, response.errors))
    if response.status is Status.SUCCESS:
        return Attempt(state=PublicationState.PUBLISHED, errors=errors)
    serious = {error.code for error in errors if error.severity == Severity.ERROR.name.title()}
    if in_doubt and any(_is_own_duplicate(error, submission) for error in errors):
        return Attempt(state=PublicationState.PUBLISHED, errors=errors)
    if serious and serious <= _PASSING:
        # What the registry did is not known to whoever could not hear it.
        return Attempt(
            state=PublicationState.WAITING, errors=errors, in_doubt="XDSRegistryNotAvailable" in serious
        )
    return Attempt(state=PublicationState.REFUSED, errors=errors)


def _is_own_duplicate(error: PublicationError, submission: Submission) -> bool:
    submission_set = submission.submission_set
    return (
        submission_set is not None and error.code == _DUPLICATE and submission_set.unique_id in error.context
    )


def _relayed(error: XdsError) -> PublicationError:
    return PublicationError(
        error.code_for(Actor.REPOSITORY), error.context, Severity(error.severity).name.title()
    )


def audit(
    submission: Submission,
    study_instance_uid: str,
    caller: Caller,
    outcome: Outcome,
    errors: Sequence[PublicationError] = (),
) -> AuditEvent:
    """Describe the export from the source's side, as ITI-41 and as RAD-68 (ITI TF-2 3.41.5.1.1)."""
    return patterns.submission(
        ITI41.event_type,
        Side.CLIENT,
        caller,
        outcome,
        submission,
        also=RAD68.event_type,
        study_instance_uid=study_instance_uid,
        description=" ".join(dict.fromkeys(error.code for error in errors)),
    )
