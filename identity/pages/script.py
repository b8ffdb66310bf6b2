"""The script of the pages: it asks the browser for a passkey, and sends what that answers as a form."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from identity.pages.page import PageUnit, page_served
from shared.pages.browser import Browser, decode_browser
from shared.pages.script import encode_script

_SCRIPT: Final = files("identity.pages").joinpath("passkey.js").read_bytes()


async def script(_: PageUnit, __: Browser) -> bytes:
    """Give the script."""
    return _SCRIPT


SERVED = page_served(
    name="Passkey script",
    routes=("GET /passkey.js",),
    right=None,
    decode=decode_browser,
    handle=script,
    encode=encode_script,
)
