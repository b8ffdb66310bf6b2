"""How the pages look."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from shared.pages.browser import Browser, decode_browser
from shared.pages.page import PageParts, PageUnit, page_served
from shared.rest.message import HttpResponse
from shared.rest.scheme import NodeAlone
from shared.security.speaker import Speaker

_STYLE: Final = files("shared.pages").joinpath("style.css").read_bytes()


async def style(_: PageUnit[PageParts], __: Browser) -> bytes:
    """Give the style sheet of the pages."""
    return _STYLE


def encode(sheet: bytes) -> HttpResponse:
    """The style sheet, which browsers may keep for a while."""
    return HttpResponse(
        media_type="text/css; charset=utf-8", headers={"cache-control": "max-age=300"}, pieces=(sheet,)
    )


SERVED = page_served(
    name="Style sheet",
    routes=("GET /style.css",),
    right=None,
    speaker=Speaker.NODE,
    scheme=NodeAlone,
    decode=decode_browser,
    handle=style,
    encode=encode,
)
