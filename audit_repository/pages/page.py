"""What the pages of the audit repository work with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from audit_repository.domain.record import name_id
from audit_repository.transactions.log_use import ITI81, check_auditor, used
from audit_repository.unit import Parts, Unit
from shared.audit.events import AuditEvent, Outcome
from shared.pages import page as of_every_service
from shared.pages.roles import ForRoles
from shared.pages.template import Templates
from shared.rest.message import HttpRequest
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right

#: Of how many days a page tells, unless its address says otherwise.
DAYS: Final = 30
_MOST_DAYS: Final = 3_660


for_privacy_officers: Final = ForRoles(
    "policies are shown to privacy officers",
    "XDSI_AUDIT_REPOSITORY__PRIVACY_OFFICER_ROLES",
    lambda settings: settings.privacy_officer_roles,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts(of_every_service.SignInParts):
    """What the pages of the audit repository are made of."""

    service: Parts


class PageUnit(of_every_service.PageUnit[PageParts]):
    """What one request for a page works with."""

    @property
    def trail(self) -> Unit:
        """The use of the trail that the page is."""
        return Unit(self.parts.service, self.caller)

    @property
    def is_privacy_officer(self) -> bool:
        """Whether policies are shown to who asks."""
        return for_privacy_officers.include(self.caller, self.parts.service.settings)

    def as_auditor(self) -> Unit:
        """The use of the trail by an auditor, which is recorded later; raises `Forbidden` for others."""
        check_auditor(self.caller, self.parts.service.settings.auditor_roles)
        return self.trail

    async def audited_look(self, search: bytes = b"") -> Unit:
        """The use of the trail by an auditor, which is recorded now; raises `Forbidden` for anybody else."""
        self.as_auditor()
        return await self.recorded_look(search)

    async def recorded_look(self, search: bytes = b"") -> Unit:
        """The use of the trail, which is recorded now."""
        unit = self.trail
        await unit.used(used(self.caller, search=search))
        self.audited = True
        return unit


def days_of(request: HttpRequest) -> int:
    """Of how many days the address asks."""
    text = request.query.get("days", [""])[0]
    return min(int(text), _MOST_DAYS) if re.fullmatch("[1-9][0-9]{0,3}", text) else DAYS


def since_days(days: int) -> datetime:
    """So many days ago."""
    return datetime.now(UTC) - timedelta(days=days)


def audit(_: Any, __: Any, caller: Caller, outcome: Outcome) -> tuple[AuditEvent, ...]:
    """Describe a look that failed; its beginning is recorded before anything is found."""
    return (used(caller, outcome),)


#: A transaction by which a page is given to an auditor, at a node that may see the trail.
page_served: partial[ServedRest[Any, Any]] = partial(
    of_every_service.page_served, right=Right.TRAIL, audit=audit, event=ITI81
)


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(str(text)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _person(who: str) -> str:
    """The user of `alias<user@issuer>`; of a system its name."""
    return name_id(who) or who


def _issuer(who: str) -> str:
    """Who vouches for that user; nobody for a system."""
    return who.rpartition("@")[2].removesuffix(">") if name_id(who) else ""


def _id_part(cx: str) -> str:
    """An id without its authority."""
    return cx.partition("^")[0]


def _text(reason: str) -> str:
    """A reason as a sentence begins."""
    return f"{reason[:1].upper()}{reason[1:]}"


TEMPLATES: Final = Templates(
    "audit_repository.pages",
    brand="Audit trail",
    purpose="The trail is shown to auditors, policies to privacy officers, and to patients what happened "
    "with their own data.",
    filters={"moment": _moment, "person": _person, "issuer": _issuer, "id_part": _id_part, "text": _text},
)
