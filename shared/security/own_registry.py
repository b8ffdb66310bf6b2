"""What our own registry tells services of its community beside the transactions of IHE (JSON over HTTP)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2

from shared.security.certificate_check import Known
from shared.security.rights import Rights
from shared.settings import ConsentSource, ServiceSettings

MAX_BYTES = 4 * 1024 * 1024


class NoAnswer(Exception):
    """There is no answer that counts; the text says why and names nobody."""


def known(settings: ServiceSettings) -> Mapping[str, Known]:
    """Who may answer as our registry: nodes of our own community alone; for `shared.http.client`."""
    if settings.consent.source is not ConsentSource.REGISTRY:
        return {}
    return {settings.consent_url: Rights(settings).community}


async def ask(http: httpx2.AsyncClient, registry_url: str, path: str, content: Mapping[str, Any]) -> bytes:
    """The answer of the registry at `registry_url`, the URL of its SOAP endpoint or its base.

    Raises
    ------
    NoAnswer
        The registry refuses, or says too much; what `http` raises when there is no answer.
    """
    url = registry_url.removesuffix("/").removesuffix("/xds/registry") + path
    async with http.stream("POST", url, json=content) as response:
        if response.status_code != 200:
            raise NoAnswer(f"the registry answers {response.status_code}")
        received = bytearray()
        async for chunk in response.aiter_bytes():
            received += chunk
            if len(received) > MAX_BYTES:
                raise NoAnswer(f"the registry's answer is larger than {MAX_BYTES} bytes")
        return bytes(received)
