"""What a person finds here: the form to sign in, or the own account, to which passkeys are added."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any, Final

from identity.domain.passkey import ALGORITHMS, Passkey, PasskeyRefused, decoded, encoded, registered
from identity.pages.authorize import SignInForm, encode_form, form
from identity.pages.page import PageUnit, let_in, page_served
from identity.pages.proofs import PasskeyAnswer
from identity.store import credentials
from shared.audit import patterns
from shared.audit.events import USER_ATTRIBUTES_CHANGED, AuditEvent, Outcome
from shared.http.problem import BadRequest, Conflict
from shared.pages.browser import Browser, decode_browser
from shared.pages.forms import FormBody, FormFields, SentForm, of_our_pages
from shared.pages.page import Page, encode_page, see
from shared.rest.message import HttpResponse
from shared.security.caller import Caller

_NOBODY: Final = "nobody who is signed in"


class NewPasskeyForm(FormFields):
    """A passkey that was made, in base64url without padding."""

    client_data: str = ""
    authenticator_data: str = ""
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class PasskeyChange:
    """Of whom a passkey was registered; of nobody where nobody was signed in."""

    browser: Browser
    name: str = ""


async def account(unit: PageUnit, browser: Browser) -> SignInForm | Page:
    """The account of who is signed in, and for everybody else the form to sign in."""
    person = await let_in(unit, browser)
    if person is None:
        return await form(unit, browser, None)
    parts, name = unit.parts, person.sign_in.name
    of_person = await credentials.find_credentials(parts.desk.database, name)
    return await unit.page(
        "account.html",
        browser,
        name=name,
        has_app=of_person.app is not None,
        passkeys=len(of_person.passkeys),
        registered=" ".join(one.credential_id for one in of_person.passkeys),
        handle=encoded(sha256(name.encode()).digest()),
        challenge=await parts.challenges.give(browser),
        host=parts.site.host,
        algorithms=" ".join(map(str, ALGORITHMS)),
    )


def encode_account(answer: SignInForm | Page) -> HttpResponse:
    """The page."""
    return encode_form(answer) if isinstance(answer, SignInForm) else encode_page(answer)


@of_our_pages
async def add_passkey(unit: PageUnit, sent_form: SentForm[NewPasskeyForm]) -> PasskeyChange:
    """Register a passkey of who is signed in."""
    browser, fields = sent_form.browser, sent_form.fields
    person = await let_in(unit, browser)
    if person is None:
        return PasskeyChange(browser)
    answer = PasskeyAnswer(
        credential_id="", client_data=fields.client_data, authenticator_data=fields.authenticator_data
    )
    challenge = await unit.parts.challenges.take(browser)
    passkey: Passkey = registered(unit.parts.site, challenge, answer.value, decoded(fields.public_key))
    name = person.sign_in.name
    await unit.parts.desk.database.write(partial(credentials.insert_passkey, name=name, passkey=passkey))
    return PasskeyChange(browser, name)


def audit_passkey(
    _: Any, response: PasskeyChange | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe that a passkey was registered, or was not."""
    name = response.name if response else caller.user.name_id if caller.user else ""
    outcome = outcome if name else Outcome.SERIOUS_FAILURE
    change = "given a passkey"
    return (patterns.user_changed(caller, outcome, name=name or _NOBODY, change=change),)


def encode_passkey(change: PasskeyChange) -> HttpResponse:
    """The account again."""
    return see("/", change.browser.headers)


SERVED = (
    page_served(
        name="Account", routes=("GET /",), decode=decode_browser, handle=account, encode=encode_account
    ),
    page_served(
        name="Register passkey",
        routes=("POST /passkeys",),
        decode=FormBody(NewPasskeyForm),
        handle=add_passkey,
        audit=audit_passkey,
        event=USER_ATTRIBUTES_CHANGED,
        encode=encode_passkey,
        problems={PasskeyRefused: BadRequest, credentials.PasskeyTaken: Conflict},
    ),
)
