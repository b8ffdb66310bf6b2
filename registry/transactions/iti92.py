"""Restricted Update Document Set [ITI-92]: expected actions (supplement Restricted Metadata Update,
3.92.4.1.3).
"""

from __future__ import annotations

from functools import partial

from registry.domain.administration import may_administer
from registry.domain.restricted_update import errors_in_restricted_update, errors_of_restricted_update
from registry.transactions.iti57 import Rules, described, update_metadata
from registry.unit import Unit
from shared.audit.events import AuditEvent, Outcome
from shared.errors import LocalPolicyRestriction, Rejected
from shared.messages.iti57 import UpdateRequest
from shared.messages.iti92 import ITI92
from shared.messages.registry import RegistryResponse
from shared.security.caller import Caller
from shared.security.speaker import Speaker
from shared.soap.served import Served


async def handle(unit: Unit, request: UpdateRequest) -> RegistryResponse:
    """Register new versions of document entries, or say everything that is wrong with them.

    Local policy lets nodes of the community update, and users in a role of `administrator_roles`; nobody may
    change `fixed_attributes`.

    Raises
    ------
    Rejected
        Nothing was changed.
    """
    settings = unit.parts.settings
    if not may_administer(unit.caller, settings.administrator_roles):
        raise Rejected(
            LocalPolicyRestriction(
                "this caller may not update; a node of the community or an administrator may"
            )
        )
    rules = Rules(
        number=ITI92.number,
        in_message=errors_in_restricted_update,
        against=partial(errors_of_restricted_update, fixed=settings.fixed_attributes),
        restricted=True,
    )
    return await update_metadata(unit, request, audit(request, None, unit.caller, Outcome.SUCCESS), rules)


def audit(
    request: UpdateRequest, response: RegistryResponse | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the update (supplement Restricted Metadata Update, 3.92.5.1)."""
    submission = request.decoded.submission
    home = submission.submission_set.home_community_id if submission else ""
    return (described(ITI92.event_type, request, caller, outcome, home),)


SERVED = Served(ITI92, handle, audit, Speaker.NODE)
