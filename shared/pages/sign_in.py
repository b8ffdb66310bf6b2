"""People sign in at a provider, or with the file of their own assertion, and out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.audit.events import LOGIN, LOGOUT, AuditEvent, Outcome
from shared.audit.node_events import user_authentication
from shared.http.problem import BadGateway, BadRequest, NotFound, Unavailable
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import MULTIPART, FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, PageUnit, SignInParts, encode_page, page_served, see
from shared.pages.provider import RETURN_PATH, ProviderAway
from shared.pages.sessions import TooManySessions
from shared.pages.visitors import SignInNeeded, Visitor
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker

_SIGN_IN = "POST /sign-in"
_BACK = f"GET {RETURN_PATH}"


class AssertionFile(FormFields):
    """The SAML 2.0 assertion (XML) that an identity provider signed for a person."""

    assertion: bytes = b""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A browser that is to be sent to the provider."""

    browser: Browser
    emergency: bool


@dataclass(frozen=True, slots=True)
class SentAway:
    """Where the browser goes on."""

    browser: Browser
    url: str


@dataclass(frozen=True, slots=True)
class Return:
    """A browser that comes back from the provider, and what it brings."""

    browser: Browser
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Who is signed in now, and the number that the browser keeps instead of its own."""

    browser: Browser
    visitor: Visitor
    number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOut:
    """Who was signed in, if anybody was."""

    browser: Browser
    visitor: Visitor | None


async def form(unit: PageUnit[SignInParts], browser: Browser) -> Page:
    """Give the form by which people sign in."""
    return await unit.page("sign_in.html", browser, reason="", provider=unit.parts.provider)


async def decode_beginning(request: HttpRequest) -> Beginning:
    """Read which browser begins, and whether it is for an emergency."""
    return Beginning(Browser.of(request), request.query.get("for", [""])[0] == "emergency")


async def begin(unit: PageUnit[SignInParts], beginning: Beginning) -> Page | SentAway:
    """Send the browser to the provider; without one, the form is what there is."""
    provider = unit.parts.provider
    if provider is None:
        return await form(unit, beginning.browser)
    url = await provider.begin(beginning.browser, emergency=beginning.emergency)
    return SentAway(beginning.browser, url)


def encode_beginning(answer: Page | SentAway) -> HttpResponse:
    """The provider's page, or the form."""
    return see(answer.url, answer.browser.headers) if isinstance(answer, SentAway) else encode_page(answer)


async def decode_return(request: HttpRequest) -> Return:
    """Read what the provider's answer says, in the address (RFC 6749 4.1.2)."""
    values = {name: texts[0] for name, texts in request.form.items() if len(texts) == 1}
    return Return(Browser.of(request), values)


async def come_back(unit: PageUnit[SignInParts], answer: Return) -> SignedIn:
    """Begin a session with the assertion of who signed in at the provider."""
    parts = unit.parts
    if parts.provider is None:
        raise NotFound("nobody signs in at a provider here; the form takes the file of an assertion")
    proof = parts.provider.end(answer.browser, answer.values)
    assertion = await parts.reception.believed(proof, unit.caller.node, door=_BACK)
    return await admitted(unit, answer.browser, assertion, _BACK)


@of_our_pages
async def sign_in(unit: PageUnit[SignInParts], sent_form: SentForm[AssertionFile]) -> SignedIn:
    """Begin a session with an assertion."""
    browser = sent_form.browser
    if not sent_form.fields.assertion:
        raise SignInNeeded("Choose the file with your assertion first.")
    return await admitted(unit, browser, sent_form.fields.assertion, _SIGN_IN)


async def admitted(unit: PageUnit[Any], browser: Browser, assertion: bytes, door: str) -> SignedIn:
    """Begin a session with an assertion, wherever it came from; raises as `Reception.admit`."""
    parts = unit.parts
    visitor = await parts.reception.admit(unit.caller.node, assertion, door=door)
    if visitor.user is None:
        raise BadRequest("assertions are off in this service (XDSI_XUA); nobody can sign in")
    # Whoever knew the number before it began does not know that of the session.
    parts.sessions.close(browser.number)
    return SignedIn(browser=browser, visitor=visitor, number=parts.sessions.open(visitor))


def audit_sign_in(
    _: Any, response: SignedIn | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a login; whose assertion is refused is recorded where that is."""
    return () if response is None else _authentication(response.visitor, caller, LOGIN)


def encode_sign_in(signed_in: SignedIn) -> HttpResponse:
    """The first page, for the session that began."""
    return see("/", signed_in.browser.keeping(signed_in.number))


@of_our_pages
async def sign_out(unit: PageUnit[SignInParts], sent_form: SentForm[FormFields]) -> SignedOut:
    """End the session of the browser."""
    session = unit.parts.sessions.close(sent_form.browser.number)
    return SignedOut(browser=sent_form.browser, visitor=session.visitor if session else None)


def audit_sign_out(
    _: Any, response: SignedOut | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a logout, where there was a session."""
    return () if response is None else _authentication(response.visitor, caller, LOGOUT)


def _authentication(visitor: Visitor | None, caller: Caller, event_type: Any) -> tuple[AuditEvent, ...]:
    if visitor is None or visitor.user is None:
        return ()
    return (user_authentication(visitor.user, caller.node, event_type),)


def encode_sign_out(signed_out: SignedOut) -> HttpResponse:
    """The form to sign in, for a browser that nobody knows any more."""
    return see("/sign-in", signed_out.browser.forgetting())


def served(right: Right) -> tuple[ServedRest[Any, Any], ...]:
    """The transactions, for people at nodes with `right`."""
    return (
        page_served(
            name="Sign-in form",
            routes=("GET /sign-in",),
            right=None,
            speaker=Speaker.NODE,
            scheme=NodeAlone,
            decode=decode_browser,
            handle=form,
        ),
        page_served(
            name="Sign-in at a provider",
            routes=("GET /sign-in/begin",),
            right=None,
            speaker=Speaker.NODE,
            scheme=NodeAlone,
            decode=decode_beginning,
            handle=begin,
            encode=encode_beginning,
            problems={ProviderAway: BadGateway, TooManySessions: Unavailable},
        ),
        page_served(
            name="Return from a provider",
            routes=(_BACK,),
            right=right,
            speaker=Speaker.NODE,
            scheme=NodeAlone,
            decode=decode_return,
            handle=come_back,
            audit=audit_sign_in,
            event=LOGIN,
            encode=encode_sign_in,
            problems={ProviderAway: BadGateway, TooManySessions: Unavailable},
        ),
        page_served(
            name="Sign in",
            routes=(_SIGN_IN,),
            right=right,
            speaker=Speaker.NODE,
            scheme=NodeAlone,
            decode=FormBody(AssertionFile, MULTIPART),
            handle=sign_in,
            audit=audit_sign_in,
            event=LOGIN,
            encode=encode_sign_in,
            problems={TooManySessions: Unavailable},
        ),
        page_served(
            name="Sign out",
            routes=("POST /sign-out",),
            right=None,
            speaker=Speaker.NODE,
            scheme=NodeAlone,
            decode=FormBody(FormFields),
            handle=sign_out,
            audit=audit_sign_out,
            event=LOGOUT,
            encode=encode_sign_out,
        ),
    )
