"""A browser, known again by a random number that it keeps in a cookie."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from shared.pages.sessions import LONGEST_SECONDS
from shared.pages.site import site_of
from shared.rest.message import HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """The browser of one request at one of our sites; `is_new` when it has no number there yet and is to keep
    this one."""

    number: str
    is_new: bool
    over_tls: bool
    site: str

    @classmethod
    def of(cls, request: HttpRequest) -> Self:
        """The browser with its number, or with a new one."""
        over_tls, site = request.scope["scheme"] == "https", site_of(request.scope)
        number = request.cookies.get(_cookie(site, over_tls), "")
        return cls(
            number=number or secrets.token_urlsafe(32), is_new=not number, over_tls=over_tls, site=site
        )

    @property
    def headers(self) -> Mapping[str, str]:
        """By which it keeps its number, if it is new."""
        return self.keeping(self.number) if self.is_new else {}

    def keeping(self, number: str) -> Mapping[str, str]:
        """The header by which it keeps `number` from now on."""
        return self._set_cookie(number, int(LONGEST_SECONDS))

    def forgetting(self) -> Mapping[str, str]:
        """The header by which it forgets its number."""
        return self._set_cookie("", 0)

    def _set_cookie(self, number: str, seconds: int) -> Mapping[str, str]:
        secure = "; Secure" if self.over_tls else ""
        cookie = (
            f"{_cookie(self.site, self.over_tls)}={number}; Max-Age={seconds}; Path=/; HttpOnly; SameSite=lax"
        )
        return {"set-cookie": cookie + secure}


async def decode_browser(request: HttpRequest) -> Browser:
    """Which browser asks, where nothing else matters."""
    return Browser.of(request)


def _cookie(site: str, over_tls: bool) -> str:
    """Its name: under TLS the cookie is for this very host alone. Cookies know no ports: the other sites of
    this host have their own."""
    return f"__Host-xdsi-{site}" if over_tls else f"xdsi-{site}"
