"""An instance as the answer to a request: sent from its file in constant memory, which is gone then."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from consumer.pages.workplace import FetchedInstance
from shared.rest.message import HttpRequest, HttpResponse

DICOM: Final = "application/dicom"


async def decode_handle(request: HttpRequest) -> str:
    """What is asked for."""
    return request.parameters["handle"]


def encode_instance(fetched: FetchedInstance) -> HttpResponse:
    """One DICOM file, to be kept and never shown by a browser; it is gone when it is sent."""
    path = Path(fetched.file.path)
    return HttpResponse(
        media_type=DICOM,
        headers={
            "content-disposition": f'attachment; filename="{fetched.sop_instance_uid}.dcm"',
            "content-security-policy": "sandbox",
        },
        pieces=(fetched.file,),
        sent=lambda: path.unlink(missing_ok=True),
    )
