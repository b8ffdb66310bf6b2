"""The script of the guided pages: it copies, and shows the steps of a trial as they come."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from conformance.pages.page import PageUnit, test_served
from shared.pages.browser import Browser, decode_browser
from shared.pages.script import encode_script

_SCRIPT: Final = files("conformance.pages").joinpath("guide.js").read_bytes()


async def script(_: PageUnit, __: Browser) -> bytes:
    """Give the script."""
    return _SCRIPT


SERVED = test_served(
    name="Script",
    routes=("GET /guide.js",),
    right=None,
    decode=decode_browser,
    handle=script,
    encode=encode_script,
)
