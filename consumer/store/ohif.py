"""The OHIF viewer as its makers publish it (npm `@ohif/app`, MIT), in the data folder: an extra, of which our
packages hold nothing.

One release is known, by its digest. Its files lie flat in a folder of their own, with the addresses in them
changed to where they are served; what registers service workers, signs in elsewhere or configures it is left
out.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

VERSION: Final = "3.13.2"
PACKAGE: Final = f"ohif-app-{VERSION}.tgz"
#: SHA-512 of the package, as the npm registry names it.
DIGEST: Final = (
    "5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3dee"
    "a3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10"
)
BASE: Final = f"/ohif/{VERSION}/"

_FOLDERS: Final = (PurePosixPath("package/dist"), PurePosixPath("package/dist/assets/images"))
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.(js|css|wasm|png|svg|woff2)")
_LICENCE: Final = "package/LICENSE"
_LEFT_OUT: Final = frozenset(
    {"app-config.js", "google.js", "init-service-worker.js", "oidc-client.min.js", "sw.js"}
)
#: What is changed in scripts and styles, which are made for the root of a host and a token for everything.
_CHANGES: Final = {
    ".js": (
        (b'__webpack_require__.p = "/";', f'__webpack_require__.p = "{BASE}";'.encode()),
        (b'__webpack_require__.p + "assets/images/', b'__webpack_require__.p + "'),
        # It would look for other studies of the patient, whose id would stand in the address.
        (b"const mrn = qidoForStudyUID[0].mrn;", b'const mrn = "";'),
    ),
    ".css": ((b"url(/", f"url({BASE}".encode()),),
}
_PRESSED: Final = {".js", ".css", ".wasm"}
_MAIN_SCRIPT: Final = re.compile(r"app\.bundle\.[0-9a-f]+\.js")


class WrongRelease(ValueError):
    """The file is not the release that is known; the text says what would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OhifRelease:
    """An installed release: its folder, what a page loads, and the sizes of all its files by name."""

    folder: Path
    script: str
    style: str
    sizes: dict[str, int]


def install(package: Path, data: Path) -> Path:
    """Put the release in `package` below `data`, in the place of any other; the folder. Blocks for seconds.

    Raises
    ------
    WrongRelease
        It is another file.
    OSError
        It cannot be read, or there is no space.
    """
    with package.open("rb") as file:
        if hashlib.file_digest(file, "sha512").hexdigest() != DIGEST:
            raise WrongRelease(f"{package} is not {PACKAGE} of npm (its SHA-512 is another one)")
    home = data / "ohif"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = home / f".{uuid4()}"
    fresh.mkdir(mode=0o700)
    try:
        _unpack(package, fresh)
        for old in [path for path in home.iterdir() if path != fresh]:
            shutil.rmtree(old)
        return fresh.rename(home / VERSION)
    except BaseException:
        shutil.rmtree(fresh)
        raise


def _unpack(package: Path, folder: Path) -> None:
    for name, octets in _files(package):
        suffix = PurePosixPath(name).suffix
        for old, new in _CHANGES.get(suffix, ()):
            octets = octets.replace(old, new)
        (folder / name).write_bytes(octets)
        if suffix in _PRESSED:
            (folder / f"{name}.gz").write_bytes(gzip.compress(octets, 6, mtime=0))


def _files(package: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(package) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            is_wanted = path.parent in _FOLDERS and _NAME.fullmatch(path.name) and path.name not in _LEFT_OUT
            content = archive.extractfile(member) if is_wanted or member.name == _LICENCE else None
            if content is not None:
                yield path.name, content.read()


def installed(data: Path) -> OhifRelease | None:
    """The release that is installed below `data`; None where none is, or another than is known."""
    folder = data / "ohif" / VERSION
    return _release(folder, folder.stat().st_mtime_ns) if folder.is_dir() else None


@lru_cache(maxsize=1)
def _release(folder: Path, changed: int) -> OhifRelease:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    script = next(filter(_MAIN_SCRIPT.fullmatch, sizes))
    return OhifRelease(folder=folder, script=script, style="app.bundle.css", sizes=sizes)
