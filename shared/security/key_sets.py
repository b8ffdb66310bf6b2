"""The keys of believed issuers of tokens: JWK Sets (RFC 7517) in files, or where an issuer shows them.

A set is read again when it grows old and when a token names a key that it has not, so that an issuer
changes its keys without anybody's doing. What it took out of its set is believed no more after
`MAX_AGE_SECONDS`. Where it cannot be asked, its last set holds for `MAX_SILENCE_SECONDS`, and then none of
its tokens.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
from joserfc.errors import JoseError
from joserfc.jwk import Key, KeySet, OctKey

from shared.faults import SecurityFault
from shared.security.certificate_check import http_certificate_known
from shared.security.tls import client_context
from shared.settings import SettingsError, TlsSettings
from shared.telemetry.log import logger

_log = logger(__name__)

MAX_AGE_SECONDS: Final = 300.0
MAX_SILENCE_SECONDS: Final = 3600.0
#: A token that names an unknown key makes an issuer be asked, and not more often than this.
_REST_SECONDS: Final = 10.0
_FILE_AGE_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 5.0
_MAX_BYTES: Final = 256 * 1024
_MIN_RSA_BITS: Final = 2048
_MIN_SECRET_BYTES: Final = 32


class Unread(Exception):
    """A key set cannot be had; the text says why."""


@dataclass(slots=True)
class _Source:
    """The set of one issuer: `read` is when it was had, `tried` when it was asked for, both by the clock."""

    place: str
    keys: tuple[Key, ...] = ()
    read: float = float("-inf")
    tried: float = float("-inf")
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_shown(self) -> bool:
        return "://" in self.place


class KeySets:
    """The key sets of `issuers`, by the setting that names them; `clock` gives seconds that only grow.

    `trust` is a PEM file with the authorities that certify their sites, where those are not the community's.

    Raises
    ------
    SettingsError
        A file holds no keys for signatures.
    """

    def __init__(
        self,
        issuers: Mapping[str, str],
        tls: TlsSettings,
        *,
        trust: Path | None = None,
        setting: str = "XDSI_TOKEN__ISSUERS",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._tls = tls
        self._trust = trust
        self._setting = setting
        self._sources = {issuer: _Source(place) for issuer, place in issuers.items()}
        problems = list(filter(None, map(self._first_reading, self._sources)))
        if problems:
            raise SettingsError(tuple(problems))

    def _first_reading(self, issuer: str) -> str:
        source = self._sources[issuer]
        if source.is_shown:
            return ""
        try:
            source.keys = keys_of(Path(source.place).read_bytes(), secrets=True)
        except (OSError, Unread) as error:
            return f"{self._setting}: {issuer}: {source.place}: {_told(error)}; name a JWK Set (RFC 7517)"
        source.read = source.tried = self._clock()
        return ""

    async def find(self, issuer: str, header: Mapping[str, Any]) -> Key:
        """The key of `issuer` by which a token with this header is to be verified.

        Raises
        ------
        SecurityFault
            FailedAuthentication: the issuer is not believed, its keys cannot be had, or it has none for this.
        """
        source = self._sources.get(issuer)
        if source is None:
            raise SecurityFault("FailedAuthentication", "the issuer is not among the believed ones")
        if self._is_old(source):
            await self._read(source)
        key = _only(source.keys, header)
        if key is None and await self._read(source):
            key = _only(source.keys, header)
        if key is None:
            raise SecurityFault("FailedAuthentication", "the issuer has no such key")
        return key

    def _is_old(self, source: _Source) -> bool:
        return self._clock() - source.read >= (MAX_AGE_SECONDS if source.is_shown else _FILE_AGE_SECONDS)

    async def _read(self, source: _Source) -> bool:
        """Have the set anew, unless it was asked for a moment ago; whether there is a newer one."""
        before = source.read
        async with source.turn:
            now = self._clock()
            if source.read == before and now - source.tried >= (_REST_SECONDS if source.is_shown else 0.0):
                source.tried = now
                await self._have(source, now)
        if self._clock() - source.read >= MAX_SILENCE_SECONDS:
            source.keys = ()
        return source.read != before

    async def _have(self, source: _Source, now: float) -> None:
        try:
            octets = await self._octets(source)
            source.keys = keys_of(octets, secrets=not source.is_shown)
            source.read = now
        except (OSError, httpx2.HTTPError, httpx2.InvalidURL, Unread) as error:
            _log.error("the keys of an issuer cannot be had", place=source.place, why=_told(error))

    async def _octets(self, source: _Source) -> bytes:
        if not source.is_shown:
            return await asyncio.to_thread(Path(source.place).read_bytes)
        async with (
            httpx2.AsyncClient(verify=self._context(), trust_env=False, timeout=_ANSWER_SECONDS) as http,
            http.stream(
                "GET",
                source.place,
                headers={"accept": "application/jwk-set+json, */*;q=0.5"},
                extensions={"trace": http_certificate_known},
            ) as answer,
        ):
            octets = b""
            async for piece in answer.aiter_bytes():
                octets += piece
                if len(octets) > _MAX_BYTES:
                    raise Unread(f"the set is larger than {_MAX_BYTES} bytes")
        if answer.status_code != httpx2.codes.OK:
            raise Unread(f"the answer is {answer.status_code}")
        return octets

    def _context(self) -> ssl.SSLContext:
        return site_context(self._tls, self._trust)


def site_context(tls: TlsSettings, trust: Path | None) -> ssl.SSLContext:
    """TLS towards the site of an issuer: by `trust`, else by the community's authorities, else by those of
    the system. Where the community does not vouch for it the site must name its host."""
    if trust is not None or not tls.enabled:
        return ssl.create_default_context(cafile=trust)
    return client_context(tls)


def keys_of(octets: bytes, *, secrets: bool) -> tuple[Key, ...]:
    """The keys for signatures in a JWK Set; shared secrets (HS256) only with `secrets`. Keys for other uses,
    and of kinds that are not known, are passed over.

    Raises
    ------
    Unread
        It is no JWK Set, or holds none.
    """
    try:
        listed = json.loads(octets)["keys"]
        keys = tuple(_readable(each) for each in listed)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Unread("is no JWK Set") from None
    usable = tuple(key for key in keys if key is not None and (secrets or not isinstance(key, OctKey)))
    if not usable:
        raise Unread("holds no key for signatures that is strong enough")
    return usable


def _readable(jwk: dict[str, Any]) -> Key | None:
    if jwk.get("use", "sig") != "sig" or not _is_strong(jwk):
        return None
    try:
        (key,) = KeySet.import_key_set({"keys": [jwk]}).keys
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key


def _is_strong(jwk: Mapping[str, Any]) -> bool:
    kind = jwk.get("kty")
    if kind == "EC":
        return jwk.get("crv") in ("P-256", "P-384", "P-521")
    if kind == "RSA":
        return int.from_bytes(_octets(jwk["n"])).bit_length() >= _MIN_RSA_BITS
    return kind == "oct" and len(_octets(jwk["k"])) >= _MIN_SECRET_BYTES


def _octets(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _only(keys: tuple[Key, ...], header: Mapping[str, Any]) -> Key | None:
    """The key that a header names; of a header that names none the one that its algorithm can be of."""
    kid, algorithm = header.get("kid"), str(header.get("alg"))
    fitting = [
        key
        for key in keys
        if (kid is None or key.kid == kid)
        and key.get("alg", algorithm) == algorithm
        and key.key_type == _KINDS.get(algorithm[:2])
    ]
    return fitting[0] if len(fitting) == 1 else None


_KINDS: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "HS": "oct"}


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, Unread) else type(error).__name__
