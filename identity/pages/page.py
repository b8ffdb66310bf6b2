"""The pages of the identity service: what they work with, and who is signed in at them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final

from identity.domain.passkey import Site
from identity.pages.proofs import Passwords
from identity.store import people
from identity.store.challenges import Challenges
from identity.store.sessions import Sessions, SignedInPerson
from identity.unit import Parts
from shared.http.problem import NotFound
from shared.pages import page as of_every_service
from shared.pages.browser import Browser
from shared.pages.handles import Handles
from shared.pages.template import Templates
from shared.pages.visitors import place_of
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.rights import Right
from shared.security.speaker import Speaker


class HandleKind(StrEnum):
    """What a handle leads to."""

    AUTHORIZATION = "authorization"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageParts(of_every_service.PageParts):
    """What the pages are made of."""

    desk: Parts
    passwords: Passwords
    challenges: Challenges
    handles: Handles
    people: Sessions

    @property
    def site(self) -> Site:
        """Ourselves, as passkeys know us."""
        return Site.of(self.desk.settings.endpoint)


PageUnit = of_every_service.PageUnit[PageParts]

#: A page for whoever is at a node that may ask for users: who signs in is not known before.
page_served: partial[ServedRest[Any, Any]] = partial(
    of_every_service.page_served, right=Right.ASK, speaker=Speaker.NODE, scheme=NodeAlone
)


async def signed_in(unit: PageUnit, browser: Browser) -> SignedInPerson | None:
    """Who is signed in at this browser and node, whom the rest of the request is of; None where nobody is.

    Raises
    ------
    NotFound
        Nobody signs in at this service.
    """
    check_open(unit)
    visitor = await unit.parts.people.find(browser.number)
    if visitor is None or place_of(visitor.caller.node) != place_of(unit.caller.node):
        return None
    unit.caller = replace(unit.caller, user=visitor.user)
    return visitor


async def let_in(unit: PageUnit, browser: Browser) -> SignedInPerson | None:
    """As `signed_in`; the session of a person who is let in no more ends."""
    person = await signed_in(unit, browser)
    if person is None or await people.is_let_in(unit.parts.desk.database, person.sign_in.name):
        return person
    await unit.parts.people.close(browser.number)
    unit.caller = replace(unit.caller, user=None)
    return None


def check_open(unit: PageUnit) -> None:
    """Let nobody in where this service is no provider; raises `NotFound`."""
    if not unit.parts.desk.settings.clients:
        raise NotFound("nobody signs in at this service: XDSI_IDENTITY__CLIENTS names no client")


TEMPLATES: Final = Templates(
    "identity.pages",
    brand="Sign-in",
    purpose="The services of this community ask here who you are.",
    filters={},
)
