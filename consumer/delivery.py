"""An instance as the answer to a request: sent from its file in constant memory, which is gone then."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from consumer.workplace import Fetched
from shared.http.raw_asgi import send_pieces


class InstanceResponse(Response):
    """One DICOM file, to be kept and never shown by a browser."""

    media_type = "application/dicom"

    def __init__(self, fetched: Fetched) -> None:
        super().__init__()
        self._fetched = fetched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        fetched = self._fetched
        headers = [
            (b"content-type", b"application/dicom"),
            (b"content-disposition", b'attachment; filename="%s.dcm"' % fetched.sop_instance_uid.encode()),
            (b"content-security-policy", b"sandbox"),
        ]
        try:
            await send_pieces(scope, send, status=200, headers=headers, pieces=[fetched.file])
        finally:
            Path(fetched.file.path).unlink(missing_ok=True)
