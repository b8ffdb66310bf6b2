"""Who may look into the trail, and the record of whoever does (DICOM PS3.15 A.5.3.2, Audit Log Used)."""

from __future__ import annotations

from collections.abc import Collection

from shared.audit import patterns
from shared.audit.events import AuditEvent, Coded, Outcome, ihe
from shared.http.problem import Forbidden
from shared.security.caller import Caller, User

ITI81 = ihe("ITI-81", "Retrieve ATNA Audit Event")
ITI82 = ihe("ITI-82", "Retrieve Syslog Event")


def used(
    caller: Caller,
    outcome: Outcome = Outcome.SUCCESS,
    *,
    search: bytes = b"",
    transaction: Coded = ITI81,
) -> AuditEvent:
    """The trail was used by `caller`, in a `transaction`, by the parameters `search`."""
    return patterns.log_used(transaction, caller, caller.endpoint, outcome, search=search)


def check_auditor(caller: Caller, auditor_roles: Collection[str]) -> None:
    """See that the trail is for who asks: a node with the right that comes without a user, or an auditor.

    Raises
    ------
    Forbidden
        The user has none of the roles, which are spelled `code^^scheme`.
    """
    if not is_auditor(caller, auditor_roles):
        raise Forbidden(
            "the trail is shown to auditors; your assertion names no role of "
            "XDSI_AUDIT_REPOSITORY__AUDITOR_ROLES"
        )


def is_auditor(caller: Caller, auditor_roles: Collection[str]) -> bool:
    """Whether it is a node that comes without a user, or a user in one of the roles."""
    return caller.user is None or _in_a_role(caller.user, auditor_roles)


def own_patients(caller: Caller, patient_roles: Collection[str]) -> tuple[str, ...]:
    """The ids of the patient who asks, as CX, of the assertion alone.

    A clinician's assertion names a patient too: so the user must be in the role of one, or be named by the
    very id.

    Raises
    ------
    Forbidden
        The user is no patient of ours.
    """
    user = caller.user
    if user is None:
        raise Forbidden("who used a patient's data is shown here to the patient alone; sign in")
    ids = tuple(one for one in user.resource_ids if one == user.name_id or _in_a_role(user, patient_roles))
    if not ids:
        raise Forbidden(
            "your assertion does not say that you are the patient; it needs your own id as resource-id, and "
            "a role of XDSI_AUDIT_REPOSITORY__PATIENT_ROLES"
        )
    return ids


def _in_a_role(user: User, roles: Collection[str]) -> bool:
    return any(str(role) in roles for role in user.roles)
