"""An instance as the answer to a request: sent from its file in constant memory, which is gone then."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from consumer.pages.workplace import FetchedInstance
from shared.http.raw_asgi import send_pieces

DICOM: Final = "application/dicom"


def headers_of(fetched: FetchedInstance) -> dict[str, str]:
    """What makes a browser keep the file, and never show it."""
    return {
        "content-disposition": f'attachment; filename="{fetched.sop_instance_uid}.dcm"',
        "content-security-policy": "sandbox",
    }


class InstanceResponse(Response):
    """One DICOM file, to be kept and never shown by a browser."""

    media_type = DICOM

    def __init__(self, fetched: FetchedInstance) -> None:
        super().__init__()
        self._fetched = fetched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        fetched = self._fetched
        named = {"content-type": DICOM, **headers_of(fetched)}
        headers = [(name.encode(), value.encode()) for name, value in named.items()]
        try:
            await send_pieces(scope, send, status=200, headers=headers, pieces=[fetched.file])
        finally:
            Path(fetched.file.path).unlink(missing_ok=True)
