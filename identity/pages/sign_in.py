"""People sign in here, by password and code or by passkey, and out again.

What is wrong is told in one sentence whatever it is, and takes as long; which it was stands in the trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final

from pydantic import Field

from identity.domain.authorization import Authorization
from identity.domain.password import LONGEST
from identity.domain.person import Person
from identity.pages.authorize import STALE, SignInForm, encode_form, form, granted, wish_of
from identity.pages.page import PageUnit, check_open, page_served
from identity.pages.proofs import Disproof, PasskeyAnswer, Proof, passkey_proof
from identity.store.sessions import SignedInPerson
from shared.audit.events import LOGIN, LOGOUT, AuditEvent, Outcome
from shared.audit.node_events import user_authentication, user_authentication_failure
from shared.faults import SecurityFault
from shared.http.problem import Unavailable
from shared.pages.browser import Browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import see
from shared.pages.sessions import TooManySessions
from shared.pages.visitors import Visitor, place_of
from shared.rest.message import HttpResponse
from shared.security.caller import Caller, User

_WRONG: Final = "Name, password or code is not right. Try again."
_NO_PASSKEY: Final = "This passkey is not accepted. Sign in with your password, and register it first."
_LATER: Final = "Too many attempts. Wait a quarter of an hour, or sign in with a passkey."


class PasswordForm(FormFields):
    """Who signs in with a password, and the code of an app where there is one."""

    request: str = ""
    name: str = Field("", max_length=128)
    password: str = Field("", max_length=LONGEST)
    code: str = Field("", max_length=16)


class PasskeyForm(FormFields):
    """What a passkey answered."""

    request: str = ""
    credential_id: str = ""
    client_data: str = ""
    authenticator_data: str = ""
    signature: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who is signed in now, the number that the browser keeps instead of its own, and where it goes on."""

    browser: Browser
    person: SignedInPerson
    number: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Who was signed in, if anybody was."""

    browser: Browser
    visitor: Visitor | None


@of_our_pages
async def by_password(unit: PageUnit, sent_form: SentForm[PasswordForm]) -> SignInForm | Admission:
    """Sign in who knows the password, and the code."""
    check_open(unit)
    parts, browser, fields = unit.parts, sent_form.browser, sent_form.fields
    lockout, place = parts.desk.lockout, place_of(unit.caller.node)
    wish = wish_of(unit, browser, fields.request)
    if not await lockout.admits(fields.name, place):
        await _record_lockout(unit, fields.name)
        return await form(unit, browser, wish, status=HTTPStatus.TOO_MANY_REQUESTS, notice=_LATER)
    proof = await parts.passwords.proof(parts.desk, fields.name, fields.password, fields.code)
    if isinstance(proof, Disproof):
        again = partial(form, disproof=proof, name=fields.name)
        return await again(unit, browser, wish, status=HTTPStatus.BAD_REQUEST, notice=_WRONG)
    await lockout.succeeded(fields.name, place)
    return await _admitted(unit, browser, proof, wish)


@of_our_pages
async def by_passkey(unit: PageUnit, sent_form: SentForm[PasskeyForm]) -> SignInForm | Admission:
    """Sign in whose passkey signed the challenge of this browser."""
    check_open(unit)
    parts, browser, fields = unit.parts, sent_form.browser, sent_form.fields
    wish = wish_of(unit, browser, fields.request)
    answer = PasskeyAnswer(
        credential_id=fields.credential_id,
        client_data=fields.client_data,
        authenticator_data=fields.authenticator_data,
        signature=fields.signature,
    )
    challenge = await parts.challenges.take(browser)
    proof = await passkey_proof(parts.desk, parts.site, challenge, answer)
    if isinstance(proof, Disproof):
        return await form(
            unit, browser, wish, status=HTTPStatus.BAD_REQUEST, notice=_NO_PASSKEY, disproof=proof
        )
    return await _admitted(unit, browser, proof, wish)


async def _record_lockout(unit: PageUnit, name: str) -> None:
    """Record, or count, that nothing is tried for a name or from a node."""
    fault = SecurityFault("FailedAuthentication", "too many wrong passwords", claimed=f"<{name}>")
    fault.of_a_known_node = True
    await unit.parts.desk.recorder.refusals.user(fault, unit.caller.node, transaction="POST /password")


async def _admitted(unit: PageUnit, browser: Browser, proof: Proof, wish: Authorization | None) -> Admission:
    parts = unit.parts
    caller = Caller(
        node=unit.caller.node,
        endpoint=unit.caller.endpoint,
        user=_user(proof.person, parts.desk.settings.endpoint),
    )
    person = SignedInPerson(caller=caller, sign_in=proof.sign_in)
    url = "/" if wish is None else (await granted(unit, browser, wish, proof.sign_in)).url
    # Whoever knew the number before it began does not know that of the session.
    await parts.people.close(browser.number)
    number = await parts.people.open(person)
    return Admission(browser=browser, person=person, number=number, url=url)


def _user(person: Person, issuer: str) -> User:
    return User(
        name_id=person.name,
        issuer=issuer,
        assertion_id="",
        subject_id=person.display_name,
        roles=person.roles,
    )


def audit_sign_in(
    _: Any, response: SignInForm | Admission | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a login, or that somebody could not; of who may not try at all it is counted elsewhere."""
    if isinstance(response, Admission):
        return (user_authentication(response.person.caller.user, caller.node, LOGIN),)  # type: ignore[arg-type]
    if response is None:
        return (user_authentication_failure(claimed="", node=caller.node, reason="the form is not ours"),)
    if response.disproof is None:
        return ()
    return (
        user_authentication_failure(
            claimed=f"<{response.name}>" if response.name else "",
            node=caller.node,
            reason=response.disproof.reason,
        ),
    )


def encode_sign_in(answer: SignInForm | Admission) -> HttpResponse:
    """Where who signed in goes on, or the form again."""
    if isinstance(answer, Admission):
        return see(answer.url, answer.browser.keeping(answer.number))
    return encode_form(answer)


@of_our_pages
async def sign_out(unit: PageUnit, sent_form: SentForm[FormFields]) -> Departure:
    """End the session of the browser."""
    visitor = await unit.parts.people.close(sent_form.browser.number)
    return Departure(browser=sent_form.browser, visitor=visitor)


def audit_sign_out(
    _: Any, response: Departure | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe a logout, where there was a session."""
    visitor = None if response is None else response.visitor
    if visitor is None or visitor.user is None:
        return ()
    return (user_authentication(visitor.user, caller.node, LOGOUT),)


def encode_sign_out(departure: Departure) -> HttpResponse:
    """The form to sign in, for a browser that nobody knows any more."""
    return see("/", departure.browser.forgetting())


SERVED = (
    page_served(
        name="Sign in by password",
        routes=("POST /password",),
        decode=FormBody(PasswordForm),
        handle=by_password,
        audit=audit_sign_in,
        event=LOGIN,
        encode=encode_sign_in,
        problems={TooManySessions: Unavailable, **STALE},
    ),
    page_served(
        name="Sign in by passkey",
        routes=("POST /passkey",),
        decode=FormBody(PasskeyForm),
        handle=by_passkey,
        audit=audit_sign_in,
        event=LOGIN,
        encode=encode_sign_in,
        problems={TooManySessions: Unavailable, **STALE},
    ),
    page_served(
        name="Sign out",
        routes=("POST /sign-out",),
        right=None,
        decode=FormBody(FormFields),
        handle=sign_out,
        audit=audit_sign_out,
        event=LOGOUT,
        encode=encode_sign_out,
    ),
)
