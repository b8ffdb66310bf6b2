"""A sender of audit messages by the crate `ihe-atna`, which is not ours: built once and kept."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

_SOURCES = Path(__file__).parent / "ihe_atna_sender"


def built_sender(*, may_build: bool) -> Path | None:
    """The program, built where that may be and cargo gets the crates; None where there is none."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "xdsi" / f"ihe-atna-{_version()}"
    program = folder / "debug" / "ihe-atna-sender"
    if not program.exists() and may_build and (cargo := shutil.which("cargo")):
        # The crate asks for a newer compiler than it needs.
        build = (cargo, "build", "--quiet", "--locked", "--ignore-rust-version", "--target-dir", folder)
        subprocess.run(build, cwd=_SOURCES, check=False)
    return program if program.exists() else None


def _version() -> str:
    files = sorted(path for path in _SOURCES.rglob("*") if path.is_file())
    return sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
