"""The registry that keeps the consents of the community, asked for a user, whose own assertion goes along."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from shared.http.client import ourselves
from shared.security.caller import Caller, Node


class ConsentsAway(Exception):
    """The registry gives no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentRegistry:
    """The registry at `url`, asked by us, `node`, through `http`."""

    url: str
    http: httpx2.AsyncClient
    node: Node

    def address(self, action: str) -> str:
        """Where it does `action`, as `sign-off`."""
        return f"{self.url.removesuffix('/').removesuffix('/xds/registry')}/consent/{action}"

    async def answer(self, action: str, content: Mapping[str, Any], caller: Caller) -> httpx2.Response:
        """Its answer to what is asked for the user of `caller`, if there is one.

        Raises
        ------
        ConsentsAway
            There is none.
        """
        headers = {}
        if caller.assertion:
            token = urlsafe_b64encode(caller.assertion).rstrip(b"=").decode()
            headers["authorization"] = f"Bearer {token}"
        try:
            return await self.http.post(self.address(action), json=content, headers=headers)
        except httpx2.HTTPError:
            raise ConsentsAway from None

    def as_seen(self, action: str, caller: Caller) -> Caller:
        """Who asked there, as the trail names it: we, for the user."""
        url = self.address(action)
        return Caller(node=ourselves(self.node, self.http, url), endpoint=url, user=caller.user)
