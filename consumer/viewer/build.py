"""The viewer as part of a wheel: made from its sources where Node is, taken as it is where it is up to date.

An sdist holds what was made, so that whoever installs from it needs no Node; a development tree goes without
a viewer where there is no Node, and its page says so.
"""

from __future__ import annotations

import gzip
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SOURCES: Final = ("package-lock.json", "package.json", "tsconfig.json", "vite.config.ts", "src/*")
_DIGEST: Final = "sources.sha256"
_INSTALL: Final = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
#: What is kept in gzip too, for browsers that are far away.
_PRESSED: Final = {".js", ".css", ".wasm"}


class ViewerBuild(BuildHookInterface[Any]):
    """Makes `dist` below this folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the viewer, unless it is there as its sources are."""
        folder = Path(self.root, "consumer", "viewer")
        if is_up_to_date(folder):
            return
        if shutil.which("npm") is None:
            if version == "editable":
                return
            raise RuntimeError("npm is needed to make the viewer (Node 20 or newer), as part of a wheel")
        try:
            make(folder)
        except subprocess.CalledProcessError:
            if version != "editable":
                raise


def is_up_to_date(folder: Path) -> bool:
    """Whether what was made is of the sources as they are."""
    made = folder / "dist" / _DIGEST
    return made.is_file() and made.read_text("ascii") == digest(folder)


def make(folder: Path) -> None:
    """Install what the lock file names, by its hashes and without its scripts, and make the viewer."""
    for command in (_INSTALL, ["npm", "run", "make"]):
        subprocess.run(command, cwd=folder, check=True)  # noqa: S603 - our own words
    dist = folder / "dist"
    for path in [path for path in dist.iterdir() if path.suffix in _PRESSED]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    (dist / _DIGEST).write_text(digest(folder), "ascii")


def digest(folder: Path) -> str:
    """What stands for all sources together."""
    summed = sha256()
    for path in sorted(path for pattern in _SOURCES for path in folder.glob(pattern)):
        summed.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return summed.hexdigest()


if __name__ == "__main__":
    make(Path(__file__).parent)
