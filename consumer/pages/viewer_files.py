"""The viewer as a browser takes it: scripts, style and codecs of this host, made from `consumer/viewer`."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from consumer.pages.page import page_served
from shared.http.pieces import FileRange
from shared.http.problem import NotFound
from shared.pages.page import PageParts, PageUnit
from shared.pages.site import POLICY
from shared.rest.message import HttpRequest, HttpResponse
from shared.rest.scheme import NodeAlone
from shared.security.speaker import Speaker

_ENTRY: Final = "src/main.ts"
_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("application/wasm", ".wasm")
_TYPES.add_type("text/javascript", ".js")

#: Codecs are WebAssembly; pictures, documents and videos are shown from the memory of the page.
VIEWER_POLICY: Final = (
    POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'").replace(
        "img-src 'self'", "img-src 'self' blob:"
    )
    + "; media-src blob:; frame-src 'self' blob:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerEntry:
    """The file that is the viewer's script, and its style sheets."""

    script: str
    styles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """One file of the viewer, for a browser that reads gzip or not."""

    name: str
    gzip: bool


def viewer_folder() -> Path:
    """Where the viewer is, once it is made."""
    return Path(str(files("consumer"))) / "viewer" / "dist"


def viewer_entry() -> ViewerEntry | None:
    """What a page loads, or None where the viewer was never made."""
    manifest = viewer_folder() / "manifest.json"
    if not manifest.is_file():
        return None
    entry = json.loads(manifest.read_bytes())[_ENTRY]
    return ViewerEntry(script=entry["file"], styles=tuple(entry.get("css", ())))


@cache
def _sizes() -> Mapping[str, int]:
    """The files that there are, each with its octets: a name that is asked for is looked up, and no path."""
    folder = viewer_folder()
    return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}


async def decode_file(request: HttpRequest) -> WantedFile:
    """Which file is asked for."""
    accepted = request.headers.get("accept-encoding", "")
    return WantedFile(name=request.parameters["name"], gzip="gzip" in accepted)


async def viewer_file(_: PageUnit[PageParts], wanted_file: WantedFile) -> WantedFile:
    """Give one file of the viewer; it is the same for everybody."""
    if wanted_file.name not in _sizes():
        raise NotFound("there is no such file of the viewer")
    return wanted_file


def encode_file(wanted_file: WantedFile) -> HttpResponse:
    """The file, whose name holds its digest: browsers keep it."""
    return encoded(wanted_file, viewer_folder(), _sizes(), VIEWER_POLICY)


def encoded(wanted_file: WantedFile, folder: Path, sizes: Mapping[str, int], policy: str) -> HttpResponse:
    """One of the files of `folder`, whose address is its own for good; pressed for who reads that."""
    name = wanted_file.name
    pressed = f"{name}.gz" if wanted_file.gzip and f"{name}.gz" in sizes else ""
    file_name = pressed or name
    return HttpResponse(
        media_type=_TYPES.guess_type(name)[0] or "application/octet-stream",
        headers={
            "cache-control": "max-age=31536000, immutable",
            "content-security-policy": policy,
            "vary": "accept-encoding",
            **({"content-encoding": "gzip"} if pressed else {}),
        },
        pieces=(FileRange(folder / file_name, 0, sizes[file_name]),),
    )


SERVED: Final[Any] = page_served(
    name="File of the viewer",
    routes=("GET /viewer/{name}",),
    right=None,
    speaker=Speaker.NODE,
    scheme=NodeAlone,
    decode=decode_file,
    handle=viewer_file,
    encode=encode_file,
)
