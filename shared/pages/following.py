"""How far something is that runs, for the script of pages that follow it; without it a link shows that."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Final

from shared.pages.browser import Browser, decode_browser
from shared.pages.page import PageParts, PageUnit, page_served
from shared.pages.script import encode_script
from shared.rest.message import HttpResponse, json_response
from shared.rest.scheme import NodeAlone
from shared.security.speaker import Speaker

_SCRIPT: Final = files("shared.pages").joinpath("follow.js").read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Whether it runs, how many steps `of` all are `done` (0 of 0 where nobody knows), and that in words."""

    runs: bool
    text: str
    done: int = 0
    of: int = 0


def encode_progress(progress: Progress) -> HttpResponse:
    """As the script reads it."""
    return json_response(asdict(progress))


async def script(_: PageUnit[PageParts], __: Browser) -> bytes:
    """Give the script."""
    return _SCRIPT


SERVED = page_served(
    name="Script that follows",
    routes=("GET /follow.js",),
    right=None,
    speaker=Speaker.NODE,
    scheme=NodeAlone,
    decode=decode_browser,
    handle=script,
    encode=encode_script,
)
