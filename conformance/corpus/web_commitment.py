"""Captures of storage commitment over the web, and what can be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from conformance.corpus.dicomweb import KIND, an_attribute
from conformance.corpus.example import Example, mutated
from conformance.corpus.messages import encode
from conformance.corpus.metadata import Change, all_of, swap

_TRANSACTION: Final = "2.25.7001"


def _item(uid: str, **more: Any) -> dict[str, Any]:
    return {
        "00081150": an_attribute("UI", "1.2.840.10008.5.1.4.1.1.2"),
        "00081155": an_attribute("UI", uid),
        **more,
    }


def commitment() -> str:
    """Two instances, of which one is kept."""
    question = [{"00081199": an_attribute("SQ", _item("2.25.5011"), _item("2.25.5012"))}]
    verdict = {
        "00081195": an_attribute("UI", _TRANSACTION),
        "00081198": an_attribute("SQ", _item("2.25.5012", **{"00081197": an_attribute("US", 274)})),
        "00081199": an_attribute("SQ", _item("2.25.5011")),
    }
    body = json.dumps(question)
    head = (
        f"POST /dicom-web/commitment-requests/{_TRANSACTION} HTTP/1.1\r\nAccept: application/dicom+json\r\n"
        f"Content-Type: application/dicom+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n{json.dumps(verdict)}"
    return f"{head}{body}\n{answer}"


_PLAIN: Final = "200 OK\r\nContent-Type: application/json"
_BROKEN: Final[dict[str, tuple[str, Change]]] = {
    "a transaction that is no UID": ("WCOM-001", swap(f"requests/{_TRANSACTION}", "requests/one")),
    "plain JSON": ("WCOM-002", swap("200 OK\r\nContent-Type: application/dicom+json", _PLAIN)),
    "no JSON": ("WCOM-003", swap('{"00081195"', '{{"00081195"')),
    "no instance asked about": ("WCOM-004", swap('[{"00081199"', '[{"0008119A"')),
    "an instance without class": ("WCOM-005", swap('"00081150"', '"00081151"')),
    "an instance twice": ("WCOM-006", swap("2.25.5012", "2.25.5011")),
    "another transaction": ("WCOM-010", swap(f'"{_TRANSACTION}"', '"2.25.7002"')),
    "a failure without reason": ("WCOM-011", swap('"00081197"', '"00081196"')),
    "an instance of which nothing is told": ("WCOM-012", swap('"00081198": {', '"00081194": {')),
    "an instance that nobody asked about": (
        "WCOM-012",
        all_of(swap("2.25.5012", "@"), swap("2.25.5012", "2.25.5013"), swap("@", "2.25.5012")),
    ),
}  # fmt: skip


def examples() -> Iterator[Example]:
    """Good and broken captures."""
    yield from mutated(KIND, "storage commitment over the web", [commitment()], encode, _BROKEN)
