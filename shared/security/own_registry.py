"""What our own registry tells services of its community beside the transactions of IHE (JSON over HTTP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx2

from shared.security.caller import Node
from shared.security.peer_certificate import node_from_der
from shared.telemetry.log import logger

MAX_BYTES = 4 * 1024 * 1024
_log = logger(__name__)


class NoAnswer(Exception):
    """There is no answer that counts; the text says why and names nobody."""


async def ask(
    http: httpx2.AsyncClient,
    registry_url: str,
    path: str,
    content: Mapping[str, Any],
    *,
    answers: Callable[[Node], bool] | None = None,
) -> bytes:
    """The answer of the registry at `registry_url`, the URL of its SOAP endpoint or its base.

    `answers` tells by its certificate whether the answer of a node counts: that a trusted authority vouches
    for it is not enough, with joined communities there are several. None is for where there is no TLS.

    Raises
    ------
    NoAnswer
        The node is none whose answers count, refuses, or says too much; what `http` raises when there is no
        answer.
    """
    url = registry_url.removesuffix("/").removesuffix("/xds/registry") + path
    async with http.stream("POST", url, json=content) as response:
        if answers is not None and not answers(_node_of(response)):
            _log.error("who answers as the registry is not of this community", setting="XDSI_COMMUNITY_NODES")
            raise NoAnswer("the registry is no node of this community")
        if response.status_code != 200:
            raise NoAnswer(f"the registry answers {response.status_code}")
        received = bytearray()
        async for chunk in response.aiter_bytes():
            received += chunk
            if len(received) > MAX_BYTES:
                raise NoAnswer(f"the registry's answer is larger than {MAX_BYTES} bytes")
        return bytes(received)


def _node_of(response: httpx2.Response) -> Node:
    """Who answered, by the certificate that its connection showed."""
    stream = response.extensions.get("network_stream")
    secure = None if stream is None else stream.get_extra_info("ssl_object")
    return node_from_der(None if secure is None else secure.getpeercert(binary_form=True), "")
