"""The page by which a launch ticket is used: it says as whom, and a button begins the session.

To open the address alone begins nothing: another site could send a browser there, and would have its person
work in a session of somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from consumer.pages.page import PageUnit, page_served
from shared.audit.events import LOGIN, AuditEvent, Outcome
from shared.http.problem import NotFound, Unavailable
from shared.pages.forms import SentForm, of_our_pages
from shared.pages.link import LinkFields, LinkForm, PageLink, decode_link
from shared.pages.page import Page, see
from shared.pages.sessions import TooManySessions
from shared.pages.sign_in import SignedIn, admitted, audit_sign_in
from shared.rest.message import HttpResponse
from shared.rest.scheme import NodeAlone
from shared.security.caller import Caller
from shared.security.speaker import Speaker

_ROUTE = "POST /launches/{handle}"
_OVER = "this launch was used, or is too old; open it again from where you came"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """Who is signed in by a ticket, and where the browser goes on."""

    signed_in: SignedIn
    path: str


async def launch_page(unit: PageUnit, link: PageLink) -> Page:
    """Say as whom the pages are opened."""
    launch = unit.parts.workplace.tickets.look(link.handle)
    if launch is None:
        raise NotFound(_OVER)
    return await unit.page("launch.html", link.browser, name=launch.name, ticket=link.handle)


@of_our_pages
async def begin_launch(unit: PageUnit, form: SentForm[LinkFields]) -> Launched:
    """Begin the session of a ticket, for the only time."""
    workplace = unit.parts.workplace
    launch = workplace.tickets.take(form.fields.handle)
    if launch is None:
        raise NotFound(_OVER)
    signed_in = await admitted(unit, form.browser, launch.assertion, _ROUTE)
    path = f"/invocations/{workplace.invocation_handle(launch.invocation)}"
    return Launched(signed_in=signed_in, path=path)


def audit_launch(
    request: SentForm[LinkFields], response: Launched | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe the login."""
    return () if response is None else audit_sign_in(request, response.signed_in, caller, outcome)


def encode_launched(launched: Launched) -> HttpResponse:
    """Where to go on, in the session that began."""
    signed_in = launched.signed_in
    return see(launched.path, signed_in.browser.keeping(signed_in.number))


SERVED = (
    page_served(
        name="Launch",
        routes=("GET /launches/{handle}",),
        speaker=Speaker.NODE,
        scheme=NodeAlone,
        decode=decode_link,
        handle=launch_page,
    ),
    page_served(
        name="Begin launch",
        routes=(_ROUTE,),
        speaker=Speaker.NODE,
        scheme=NodeAlone,
        decode=LinkForm(LinkFields),
        handle=begin_launch,
        audit=audit_launch,
        event=LOGIN,
        encode=encode_launched,
        problems={TooManySessions: Unavailable},
    ),
)
