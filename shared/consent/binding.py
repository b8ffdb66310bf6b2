"""To whom the assertion of a caller is bound: its resource-id names the one patient that it may be used for
(ITI TF-2 3.40.4.1.2).

It is the requester's own id of the patient. One of another assigning authority than the patient's cannot be
compared here, and binds where it is known.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from shared.consent.decision import Decision, Resource
from shared.security.caller import Caller

OTHER_PATIENT = Decision(False, "the assertion of the caller is bound to another patient")


def bound(
    decisions: Sequence[Decision],
    resources: Sequence[Resource],
    caller: Caller,
    identities: Collection[str] = (),
) -> tuple[Decision, ...]:
    """The decisions, each a no where the caller's assertion is for another patient than the resource's.

    `identities` are all ids of a patient that was merged: an assertion for one of them is for each.
    """
    user = caller.user
    if user is None or not user.resource_ids:
        return tuple(decisions)
    return tuple(
        OTHER_PATIENT if _is_of_another(resource.patient_id, user.resource_ids, identities) else decision
        for decision, resource in zip(decisions, resources, strict=True)
    )


def _is_of_another(patient_id: str, resource_ids: Collection[str], identities: Collection[str]) -> bool:
    own = {patient_id, *identities}
    authorities = {_authority(each) for each in own}
    comparable = {each for each in resource_ids if _authority(each) in authorities}
    return bool(comparable) and own.isdisjoint(comparable)


def _authority(patient_id: str) -> str:
    return patient_id.partition("^")[2]
