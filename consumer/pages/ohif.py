"""OHIF on a study, where it is installed: an extra beside our own viewer, with the same front and the same
token, under a policy of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, Final

from consumer.pages.page import PageUnit, page_served
from consumer.pages.viewer import token_of
from consumer.pages.viewer_files import WantedFile, decode_file, encoded
from consumer.store.ohif import BASE, OhifRelease, installed
from shared.http.problem import NotFound
from shared.pages.browser import Browser, decode_browser
from shared.pages.link import PageLink, decode_link
from shared.pages.page import Page, encode_page
from shared.pages.script import encode_script
from shared.rest.message import HttpResponse
from shared.rest.scheme import NodeAlone
from shared.security.speaker import Speaker

_SCRIPT: Final = files("consumer.pages").joinpath("ohif.js").read_bytes()

#: It writes styles into its page, runs codecs in workers, and knows no Trusted Types; no other host is named.
OHIF_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; font-src 'self'; media-src blob:; "
    "object-src 'none'; frame-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """A file of a release that is installed."""

    release: OhifRelease
    file: WantedFile


def _release(unit: PageUnit) -> OhifRelease:
    release = installed(unit.parts.workplace.settings.data)
    if release is None:
        raise NotFound("OHIF is not installed here; whoever runs this service installs it with `xdsi ohif`")
    return release


async def ohif(unit: PageUnit, link: PageLink) -> Page:
    """Show the images of a study in OHIF (ITI-18, ITI-43; then by the front).

    Raises
    ------
    NotFound
        It is not installed.
    """
    release = _release(unit)
    opened_study = await unit.parts.workplace.open_handle(unit.visitor, link.handle)
    place = f"/studies/{link.handle}/ohif"
    start_values = {
        "base": "/dicomweb",
        "files": BASE,
        "form": unit.parts.forms.token(link.browser),
        "place": place,
        "renewal": f"/studies/{link.handle}/token",
        "token": token_of(unit, link.browser, opened_study),
    }
    return await unit.page(
        "ohif.html",
        link.browser,
        opened=opened_study,
        handle=link.handle,
        release=release,
        files=BASE,
        given=start_values,
    )


async def ohif_file(unit: PageUnit, wanted_file: WantedFile) -> ReleaseFile:
    """Give one file of OHIF; it is the same for everybody."""
    release = _release(unit)
    if wanted_file.name not in release.sizes:
        raise NotFound("there is no such file of OHIF")
    return ReleaseFile(release=release, file=wanted_file)


async def script(_: PageUnit, __: Browser) -> bytes:
    """Give the script that begins it."""
    return _SCRIPT


def encode_ohif(page: Page) -> HttpResponse:
    """The page, under its own policy."""
    response = encode_page(page)
    return replace(response, headers={**response.headers, "content-security-policy": OHIF_POLICY})


def encode_release_file(file: ReleaseFile) -> HttpResponse:
    """The file, whose address holds its release: browsers keep it."""
    return encoded(file.file, file.release.folder, file.release.sizes, OHIF_POLICY)


def _file_served(**how: Any) -> Any:
    return page_served(right=None, speaker=Speaker.NODE, scheme=NodeAlone, **how)


SERVED: Final[tuple[Any, ...]] = (
    page_served(
        name="OHIF",
        routes=("GET /studies/{handle}/ohif/viewer",),
        decode=decode_link,
        handle=ohif,
        encode=encode_ohif,
    ),
    _file_served(
        name="File of OHIF",
        routes=(f"GET {BASE}{{name}}",),
        decode=decode_file,
        handle=ohif_file,
        encode=encode_release_file,
    ),
    _file_served(
        name="Script that begins OHIF",
        routes=("GET /ohif.js",),
        decode=decode_browser,
        handle=script,
        encode=encode_script,
    ),
)
