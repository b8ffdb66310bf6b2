"""The provider at which people sign in (OpenID Connect): authorization code with PKCE, state and nonce, then
the exchange of the ID token for an assertion at the identity service.

What belongs to one way there and back is kept here for its browser, for minutes and one return. The tokens of
the provider are used once and kept nowhere.
"""

from __future__ import annotations

import hmac
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote, urlencode

import httpx2

from shared.faults import SecurityFault
from shared.pages.browser import Browser
from shared.pages.exchange import ANSWER_SECONDS, AssertionExchange, ExchangeRefused, NoReply, json_answer
from shared.pages.sessions import TooManySessions
from shared.settings import ServiceSettings, SignInSettings
from shared.settings.kinds import site_url
from shared.telemetry.log import logger

_log = logger(__name__)

RETURN_PATH: Final = "/sign-in/back"
_WAY_SECONDS: Final = 600.0
_MOST_WAYS: Final = 10_000
_METADATA_SECONDS: Final = 300.0


class ProviderAway(Exception):
    """The provider, or the identity service, gives no answer that can be used; the text tells people."""


class SignInRefused(SecurityFault):
    """A sign-in is not accepted; `reason` is for the person, `detail` for the trail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__("FailedAuthentication", detail)
        self.reason = reason
        self.of_a_known_node = True


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to the provider and back; `began` is by the provider's clock, `since` aware."""

    state: str
    nonce: str
    verifier: str
    emergency: bool
    began: float
    since: datetime


@dataclass(frozen=True, slots=True)
class _Metadata:
    authorization_endpoint: str
    token_endpoint: str
    tells_issuer: bool
    keys: Any
    read: float


class Provider:
    """The provider of a service's pages; of one event loop. `clock` gives seconds that only grow."""

    def __init__(
        self,
        settings: SignInSettings,
        service: ServiceSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = settings.name
        self.for_emergencies = bool(settings.emergency_purpose)
        self._settings = settings
        self._service = service
        self._exchange = AssertionExchange(settings.exchange_url or "", service.tls)
        self._clock = clock
        self._ways: dict[bytes, _Way] = {}
        self._metadata: _Metadata | None = None

    @property
    def _redirect_uri(self) -> str:
        return f"{self._service.endpoint}{RETURN_PATH}"

    async def begin(self, browser: Browser, *, emergency: bool) -> str:
        """Where the browser goes to sign in; `emergency` asks for a sign-in of this moment.

        Raises
        ------
        ProviderAway
            The provider does not tell where.
        TooManySessions
            So many are on their way that no further one is kept.
        """
        metadata = await self._told()
        self._forget()
        if len(self._ways) >= _MOST_WAYS:
            raise TooManySessions("too many people are signing in; try again in a few minutes")
        emergency = emergency and self.for_emergencies
        way = _Way(
            state=secrets.token_urlsafe(32),
            nonce=secrets.token_urlsafe(32),
            verifier=secrets.token_urlsafe(48),
            emergency=emergency,
            began=self._clock(),
            since=datetime.now(UTC),
        )
        self._ways[_key(browser)] = way
        parameters = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid",
            "state": way.state,
            "nonce": way.nonce,
            "code_challenge": _challenge(way.verifier),
            "code_challenge_method": "S256",
            **({"prompt": "login", "max_age": "0"} if emergency else {}),
        }
        separator = "&" if "?" in metadata.authorization_endpoint else "?"
        return f"{metadata.authorization_endpoint}{separator}{urlencode(parameters)}"

    async def end(self, browser: Browser, values: Mapping[str, str]) -> bytes:
        """The assertion of who came back with `values`, which stood in the address.

        Raises
        ------
        SignInRefused
            They are not of a way that this browser began, or the sign-in is not accepted.
        ProviderAway
            Nobody can be asked.
        """
        way = self._ways.pop(_key(browser), None)
        if way is None or self._clock() - way.began > _WAY_SECONDS:
            raise SignInRefused(
                "This sign-in was not begun at this browser, or too long ago. Sign in again.",
                "a return from the provider without a beginning",
            )
        if not hmac.compare_digest(values.get("state", "").encode(), way.state.encode()):
            raise SignInRefused("The sign-in does not fit. Sign in again.", "the state is another one")
        metadata = await self._told()
        if (
            values.get("iss", self._settings.issuer if not metadata.tells_issuer else "")
            != self._settings.issuer
        ):
            raise SignInRefused("The sign-in does not fit. Sign in again.", "the answer is of another issuer")
        if "code" not in values:
            raise SignInRefused("You were not signed in. Sign in again.", "the provider gave no code")
        token = await self._id_token(metadata, values["code"], way.verifier)
        await self._check(metadata, token, way)
        return await self._assertion(token, way)

    # --- the provider ---------------------------------------------------------------------------------

    async def _told(self) -> _Metadata:
        """The metadata of the provider (OpenID Connect Discovery 4)."""
        metadata = self._metadata
        if metadata is not None and self._clock() - metadata.read < _METADATA_SECONDS:
            return metadata
        issuer = self._settings.issuer or ""
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        status, content = await self._asked("GET", url)
        try:
            if status != httpx2.codes.OK or content["issuer"] != issuer:
                raise ValueError("another issuer")
            from shared.security.key_sets import KeySets

            self._metadata = _Metadata(
                authorization_endpoint=site_url(content["authorization_endpoint"]),
                token_endpoint=site_url(content["token_endpoint"]),
                tells_issuer=content.get("authorization_response_iss_parameter_supported") is True,
                keys=KeySets(
                    {issuer: site_url(content["jwks_uri"])}, self._service.tls, trust=self._settings.trust
                ),
                read=self._clock(),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._away("the metadata cannot be used", url, type(error).__name__) from None
        return self._metadata

    async def _id_token(self, metadata: _Metadata, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        headers = {}
        if self._settings.client_secret is None:
            form["client_id"] = self._settings.client_id
        else:
            pair = f"{quote(self._settings.client_id, '')}:{quote(self._settings.client_secret, '')}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        url = metadata.token_endpoint
        status, content = await self._asked("POST", url, data=form, headers=headers)
        token = content.get("id_token")
        if status != httpx2.codes.OK or not isinstance(token, str):
            why = str(content.get("error", status))[:100]
            raise SignInRefused(
                "You were not signed in. Sign in again.", f"the provider gave no token: {why}"
            )
        return token

    async def _check(self, metadata: _Metadata, token: str, way: _Way) -> None:
        from shared.security.id_token import verified_id_token

        skew = timedelta(seconds=self._service.assertion.skew_seconds)
        clients = {self._settings.issuer or "": (self._settings.client_id,)}
        try:
            signed_in = await verified_id_token(token, metadata.keys, clients, datetime.now(UTC), skew)
        except SecurityFault as fault:
            raise SignInRefused("The sign-in is not accepted.", fault.detail) from None
        if not hmac.compare_digest(signed_in.nonce.encode(), way.nonce.encode()):
            raise SignInRefused("The sign-in does not fit. Sign in again.", "the nonce is another one")
        if way.emergency and (signed_in.authenticated is None or signed_in.authenticated < way.since - skew):
            raise SignInRefused(
                "For an emergency you must sign in anew.", "the provider did not ask to sign in anew"
            )

    # --- the identity service -------------------------------------------------------------------------

    async def _assertion(self, token: str, way: _Way) -> bytes:
        purpose = self._settings.emergency_purpose if way.emergency else ""
        try:
            return await self._exchange.of_sign_in(token, purpose=purpose)
        except ExchangeRefused:
            raise SignInRefused(
                "You are signed in, but this community does not know you; ask who administers its users.",
                "the identity service knows nobody by this sign-in",
            ) from None
        except NoReply as error:
            raise self._away(error.what, error.url, error.why) from None

    # --- the wire -------------------------------------------------------------------------------------

    def _of_provider(self) -> httpx2.AsyncClient:
        from shared.security.key_sets import site_context

        context = site_context(self._service.tls, self._settings.trust)
        return httpx2.AsyncClient(verify=context, trust_env=False, timeout=ANSWER_SECONDS)

    async def _asked(self, method: str, url: str, **body: Any) -> tuple[int, dict[str, Any]]:
        try:
            return await json_answer(self._of_provider(), method, url, **body)
        except NoReply as error:
            raise self._away(error.what, error.url, error.why) from None

    def _away(self, what: str, url: str, why: str) -> ProviderAway:
        _log.error("nobody can sign in", what=what, url=url, why=why)
        return ProviderAway(f"{self.name} cannot be used to sign in now; try again in a few minutes")

    def _forget(self) -> None:
        now = self._clock()
        for key in [key for key, way in self._ways.items() if now - way.began > _WAY_SECONDS]:
            del self._ways[key]


def provider_of(settings: SignInSettings, service: ServiceSettings) -> Provider | None:
    """The provider that the settings of a service name, if any."""
    return Provider(settings, service) if settings.issuer else None


def _key(browser: Browser) -> bytes:
    return sha256(browser.number.encode()).digest()


def _challenge(verifier: str) -> str:
    """S256 of PKCE (RFC 7636 4.2)."""
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
