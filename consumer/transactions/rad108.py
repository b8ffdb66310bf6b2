"""Store Instances over the Web [RAD-108], sending side: an instance under local identifiers goes to an
archive by STOW-RS (PS3.18 10.5), one in each request, so that each has an answer of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx2

from consumer.transactions.rad61 import NotStored
from shared.audit.events import ihe
from shared.dicom.json import MEDIA_TYPE, items, texts
from shared.dicom.multipart import APPLICATION_DICOM, closing, content_type, new_boundary, part_head

EVENT_TYPE: Final = ihe("RAD-108", "Store Instances Over the Web")
_CHUNK: Final = 256 * 1024
_FAILED: Final = 0x00081198
_FAILURE_REASON: Final = 0x00081197
_TAKEN: Final = (HTTPStatus.OK, HTTPStatus.ACCEPTED)
_REFUSED: Final = (HTTPStatus.CONFLICT, HTTPStatus.BAD_REQUEST)


async def store(http: httpx2.AsyncClient, base: str, path: Path) -> str:
    """Store one file; why it was not, or nothing where it was.

    Raises
    ------
    NotStored
        Nobody answers, or we are not let in.
    """
    boundary = new_boundary()
    head = part_head(boundary, [("Content-Type", APPLICATION_DICOM)])
    size = len(head) + path.stat().st_size + len(closing(boundary))
    headers = {"content-type": content_type(boundary), "content-length": str(size), "accept": MEDIA_TYPE}
    try:
        answer = await http.post(f"{base}/studies", content=_body(path, head, boundary), headers=headers)
    except httpx2.HTTPError as error:
        raise NotStored(f"no answer from {base}: {error or type(error).__name__}") from None
    if answer.status_code in (*_TAKEN, *_REFUSED):
        return _reason(answer)
    raise NotStored(f"{base} answered {answer.status_code}")


async def _body(path: Path, head: bytes, boundary: str) -> AsyncIterator[bytes]:
    yield head
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece
    yield closing(boundary)


def _reason(answer: httpx2.Response) -> str:
    try:
        answered: Any = answer.json()
        failed = items(answered, _FAILED)
        codes = [f"{int(code):04X}H" for item in failed for code in texts(item, _FAILURE_REASON)]
    except (ValueError, TypeError, AttributeError):
        failed, codes = [], []
    if failed or answer.status_code not in _TAKEN:
        return f"the archive refused it: {', '.join(codes) or answer.status_code}"
    return ""
