"""Who makes documents when they are asked for: a provider, and the imaging source as one."""

from __future__ import annotations

import asyncio
from typing import Protocol

import httpx2

from shared.http.client import EgressRefused
from shared.messages.on_demand import (
    MAX_ANSWER_BYTES,
    PATH,
    MadeManifest,
    ManifestRequest,
    UnreadableManifest,
)

TIMEOUT_SECONDS = 30.0

_GONE = (httpx2.codes.NOT_FOUND, httpx2.codes.CONFLICT)


class CannotMake(Exception):
    """The provider says that it cannot make this document; the text says why and is safe to show."""


class ProviderUnavailable(Exception):
    """The provider gave no answer that can be used; the text says why and names no patient."""


class Provider(Protocol):
    """Makes documents and describes them."""

    async def make(self, request: ManifestRequest) -> MadeManifest:
        """Make a document now.

        Raises
        ------
        CannotMake, ProviderUnavailable
            It is not made.
        """
        ...


class ImagingSource:
    """Manifests of studies, by the imaging source at `base`, scheme://host:port."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._url = str(httpx2.URL(url).copy_with(path=PATH, query=None))

    async def make(self, request: ManifestRequest) -> MadeManifest:
        """Ask for the manifest of a study as it is now."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                status, octets = await self._post(request.encode())
        except (httpx2.HTTPError, OSError, TimeoutError, EgressRefused) as error:
            raise ProviderUnavailable(f"the imaging source does not answer: {type(error).__name__}") from None
        if status in _GONE:
            raise CannotMake("the imaging source cannot make it: the study is not there, or cannot be shared")
        if status != httpx2.codes.OK:
            raise ProviderUnavailable(f"the imaging source answers with HTTP {status}")
        try:
            return await asyncio.to_thread(MadeManifest.decode, octets)
        except UnreadableManifest as error:
            raise ProviderUnavailable(f"the imaging source: {error}") from None

    async def _post(self, content: bytes) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        async with self._http.stream("POST", self._url, content=content, headers=headers) as answer:
            octets = bytearray()
            async for chunk in answer.aiter_raw():
                octets += chunk
                if len(octets) > MAX_ANSWER_BYTES:
                    raise ProviderUnavailable(
                        f"the imaging source answers with more than {MAX_ANSWER_BYTES} B"
                    )
        return answer.status_code, bytes(octets)
