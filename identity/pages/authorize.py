"""A client sends a browser for its person to sign in (RFC 6749 4.1.1 with PKCE; OpenID Connect Core 3.1)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode, urlsplit

from identity.domain.authorization import Authorization, CodeGrant, SignIn
from identity.pages.page import HandleKind, PageUnit, page_served, signed_in
from identity.pages.proofs import Disproof
from identity.store import people
from identity.store.single_use import give_code
from shared.http.problem import BadRequest
from shared.pages.browser import Browser
from shared.pages.handles import UnknownHandle
from shared.pages.page import Page, encode_page, see
from shared.pages.site import POLICY
from shared.rest.message import HttpRequest, HttpResponse

# A SHA-256 in base64url: a challenge of PKCE, the thumbprint of a key.
_DIGEST: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_CHARACTERS: Final = 1_024


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A browser that was sent, and what stood in the address, each parameter once."""

    browser: Browser
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInForm:
    """The form to sign in; from it the browser may be led to `origin`. `disproof` is for the trail, where
    somebody, who said to be `name`, could not."""

    page: Page
    origin: str = ""
    status: HTTPStatus = HTTPStatus.OK
    disproof: Disproof | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class SentBack:
    """Where the browser goes on: back at its client."""

    browser: Browser
    url: str


class ClientError(Exception):
    """What the client learns in place of a code: `error` and its description (RFC 6749 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error


async def decode(request: HttpRequest) -> AuthorizationRequest:
    """Read the address."""
    values = {name: texts[0] for name, texts in request.form.items() if len(texts) == 1}
    return AuthorizationRequest(Browser.of(request), values)


async def authorize(unit: PageUnit, request: AuthorizationRequest) -> SignInForm | SentBack:
    """Send who is signed in back with a code, and ask everybody else to sign in."""
    person = await signed_in(unit, request.browser)
    values = request.values
    uri = _redirect_uri(unit, values)
    state = values.get("state", "")[:_MOST_CHARACTERS]
    wish = _authorization(values)
    if isinstance(wish, ClientError):
        return SentBack(request.browser, _with(unit, uri, state, _told(wish)))
    prompts = values.get("prompt", "").split()
    recent = person is not None and _is_recent(person.sign_in, values.get("max_age", ""))
    if person is not None and recent and "login" not in prompts:
        return await granted(unit, request.browser, wish, person.sign_in)
    if "none" in prompts:
        error = ClientError("login_required", "nobody is signed in at this browser")
        return SentBack(request.browser, _with(unit, uri, state, _told(error)))
    return await form(unit, request.browser, wish)


def _redirect_uri(unit: PageUnit, values: Mapping[str, str]) -> str:
    """Where the browser may be sent back to: a place that the client is known by, and no other."""
    client = unit.parts.desk.settings.clients.get(values.get("client_id", ""))
    uri = values.get("redirect_uri", "")
    if client is None or uri not in client.redirect_uris:
        raise BadRequest(
            "the page that sent you is not known here, or not by this address; "
            "XDSI_IDENTITY__CLIENTS names client ids and their redirect_uris"
        )
    return uri


def _authorization(values: Mapping[str, str]) -> Authorization | ClientError:
    if any(len(value) > _MOST_CHARACTERS for value in values.values()):
        return ClientError("invalid_request", "a parameter is too long")
    if values.get("response_type") != "code":
        return ClientError("unsupported_response_type", "response_type is code")
    if values.get("code_challenge_method") != "S256" or not _DIGEST.fullmatch(
        values.get("code_challenge", "")
    ):
        return ClientError("invalid_request", "code_challenge is needed, by code_challenge_method S256")
    if values.get("dpop_jkt") and not _DIGEST.fullmatch(values["dpop_jkt"]):
        return ClientError("invalid_request", "dpop_jkt is the SHA-256 thumbprint of a key (RFC 7638)")
    if not values.get("state"):
        return ClientError("invalid_request", "state is needed")
    if values.get("request") or values.get("request_uri"):
        return ClientError("request_not_supported", "parameters stand in the address")
    if values.get("response_mode", "query") != "query":
        return ClientError("invalid_request", "response_mode is query")
    if not values.get("max_age", "0").isdecimal():
        return ClientError("invalid_request", "max_age is a number of seconds")
    return Authorization(
        client_id=values["client_id"],
        redirect_uri=values["redirect_uri"],
        state=values["state"],
        challenge=values["code_challenge"],
        nonce=values.get("nonce", ""),
        scope=values.get("scope", ""),
        resource=values.get("resource", ""),
        dpop_jkt=values.get("dpop_jkt", ""),
    )


def _is_recent(sign_in: SignIn, max_age: str) -> bool:
    return not max_age or time.time() - sign_in.seconds <= int(max_age)


def _told(error: ClientError) -> dict[str, str]:
    return {"error": error.error, "error_description": str(error)}


def _with(unit: PageUnit, uri: str, state: str, answer: Mapping[str, str]) -> str:
    """The address of the answer; `iss` says whose it is (RFC 9207)."""
    known_state = {"state": state} if state else {}
    query = urlencode({**answer, **known_state, "iss": unit.parts.desk.settings.endpoint})
    return f"{uri}{'&' if '?' in uri else '?'}{query}"


async def granted(unit: PageUnit, browser: Browser, wish: Authorization, sign_in: SignIn) -> SentBack:
    """Back at the client with a code for who signed in; without one where the person is let in no more."""
    desk = unit.parts.desk
    if await people.is_let_in(desk.database, sign_in.name):
        answer = {"code": await give_code(desk.database, CodeGrant(wish, sign_in))}
    else:
        await unit.parts.people.close(browser.number)
        answer = _told(ClientError("access_denied", "this person is let in no more"))
    return SentBack(browser, _with(unit, wish.redirect_uri, wish.state, answer))


async def form(
    unit: PageUnit,
    browser: Browser,
    wish: Authorization | None,
    *,
    status: HTTPStatus = HTTPStatus.OK,
    notice: str = "",
    disproof: Disproof | None = None,
    name: str = "",
) -> SignInForm:
    """The form to sign in, for what a client wishes or for nothing further; `notice` says what was wrong."""
    parts = unit.parts
    kept_wish = (
        parts.handles.seal(HandleKind.AUTHORIZATION, browser.number, json.dumps(asdict(wish))) if wish else ""
    )
    page = await unit.page(
        "person.html",
        browser,
        notice=notice,
        request=kept_wish,
        challenge=await parts.challenges.give(browser),
        host=parts.site.host,
    )
    return SignInForm(page=page, origin=_origin(wish), status=status, disproof=disproof, name=name)


def wish_of(unit: PageUnit, browser: Browser, handle: str) -> Authorization | None:
    """For what a form was sent; None where it was opened for nothing further. Raises `UnknownHandle`."""
    if not handle:
        return None
    (content,) = unit.parts.handles.open(HandleKind.AUTHORIZATION, browser.number, handle)
    return Authorization(**json.loads(content))


def _origin(wish: Authorization | None) -> str:
    if wish is None:
        return ""
    parts = urlsplit(wish.redirect_uri)
    return f"{parts.scheme}://{parts.netloc}"


def encode_form(answer: SignInForm) -> HttpResponse:
    """The form; browsers follow it back to its client alone: `form-action` holds for what it leads to."""
    response = encode_page(answer.page)
    policy = POLICY.replace("form-action 'self'", f"form-action 'self' {answer.origin}".rstrip())
    return HttpResponse(
        status=answer.status,
        media_type=response.media_type,
        headers={**response.headers, "content-security-policy": policy},
        pieces=response.pieces,
    )


def encode(answer: SignInForm | SentBack) -> HttpResponse:
    """The form, or the way back."""
    return see(answer.url, answer.browser.headers) if isinstance(answer, SentBack) else encode_form(answer)


#: A form that was made for another browser, or too long ago.
STALE: Final = {UnknownHandle: lambda _: BadRequest("this form is too old; begin at the page that sent you")}

SERVED = page_served(
    name="Authorize", routes=("GET /authorize",), decode=decode, handle=authorize, encode=encode
)
