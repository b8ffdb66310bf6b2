"""The keys that sign tokens: EC P-256. The newest signs; older ones are shown while tokens hold."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

_DAY_SECONDS: Final = 86_400
#: No token holds longer than an hour; caches of others are given a day.
_SHOWN_SECONDS: Final = _DAY_SECONDS
_MADE: Final = "made"
_ACCESS: Final = "at+jwt"


class SigningKeys:
    """The keys in a file of `folder`, which others cannot read; `clock` gives seconds since 1970."""

    def __init__(self, folder: Path, days: int, clock: Callable[[], float] = time.time) -> None:
        self._path = folder / "token-keys.json"
        self.shown_path = folder / "token-keys-shown.json"
        self._seconds = days * _DAY_SECONDS
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self.rotate()

    def rotate(self) -> None:
        """Make a new key where the newest has grown old, and forget those that are shown no more."""
        if self._path.exists():
            # Another process of the service, or an operator, may have put a newer one there.
            self._keys = json.loads(self._path.read_bytes())
        now = self._clock()
        if self._keys and now - self._keys[0][_MADE] < self._seconds:
            self._show()
            return
        fresh = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
        replaced = [now, *(key[_MADE] for key in self._keys)]
        shown = [
            key for key, moment in zip(self._keys, replaced, strict=False) if now - moment < _SHOWN_SECONDS
        ]
        self._keys = [{**fresh.as_dict(private=True), _MADE: now}, *shown]
        fresh_file = self._path.with_suffix(".new")
        with os.fdopen(os.open(fresh_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._keys, file)
            file.flush()
            os.fsync(file.fileno())
        fresh_file.replace(self._path)
        self._show()

    def _show(self) -> None:
        """Write what is shown to a file, by which this service believes what it signed."""
        content = json.dumps(self.shown()).encode()
        if not self.shown_path.exists() or self.shown_path.read_bytes() != content:
            fresh_file = self.shown_path.with_suffix(".new")
            fresh_file.write_bytes(content)
            fresh_file.replace(self.shown_path)

    def shown(self) -> dict[str, Any]:
        """The JWK Set by which others verify."""
        secret = {"d", _MADE}
        return {"keys": [{k: v for k, v in key.items() if k not in secret} for key in self._keys]}

    def access_token(self, claims: Mapping[str, Any]) -> str:
        """`claims` as an access token (RFC 9068)."""
        return self._signed(claims, _ACCESS)

    def id_token(self, claims: Mapping[str, Any]) -> str:
        """`claims` as an ID token (OpenID Connect Core 2)."""
        return self._signed(claims, "JWT")

    def _signed(self, claims: Mapping[str, Any], kind: str) -> str:
        newest = {name: value for name, value in self._keys[0].items() if name != _MADE}
        header = {"alg": "ES256", "typ": kind, "kid": newest["kid"]}
        return jws.serialize_compact(header, json.dumps(claims).encode(), ECKey.import_key(newest))

    def claims_of(self, token: str) -> dict[str, Any] | None:
        """What an access token of ours says, while it holds; None for any other."""
        keys = KeySet([ECKey.import_key(key) for key in self.shown()["keys"]])
        try:
            signed = jws.deserialize_compact(token, keys, algorithms=["ES256"])
        except (JoseError, ValueError):
            return None
        if signed.headers().get("typ") != _ACCESS:
            return None
        claims: dict[str, Any] = json.loads(signed.payload)
        return claims if claims["exp"] > self._clock() else None
