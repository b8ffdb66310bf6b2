"""Where a study is taken over to: the archive of the hospital, by DIMSE or DICOM web services, or media."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

HOW = (
    "write dicom://AETITLE@host:port or dicoms://… (C-STORE), https://host/dicomweb (STOW-RS), a folder, or "
    "a file that ends with .zip"
)
_TITLE = re.compile(r"[!-\[\]-~]{1,16}")


class WrongDestination(ValueError):
    """It is no place for a study; the text says how one is written."""


class Kind(StrEnum):
    """How instances come to a destination."""

    C_STORE = "C-STORE"
    STOW = "STOW-RS"
    FOLDER = "folder"
    ZIP = "ZIP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """One place. `path` is for media, `url` for STOW-RS, the others for C-STORE."""

    kind: Kind
    text: str
    path: Path = Path()
    url: str = ""
    ae_title: str = ""
    host: str = ""
    port: int = 0
    tls: bool = False

    @property
    def is_archive(self) -> bool:
        """Whether it is an archive, into which a study is imported; else it is exported to media."""
        return self.kind in (Kind.C_STORE, Kind.STOW)

    @classmethod
    def of(cls, text: str) -> Destination:
        """Read what people write; a relative path is below the current folder.

        Raises
        ------
        WrongDestination
            It is none.
        """
        scheme, there, _ = text.partition("://")
        if not text.strip() or "\0" in text:
            raise WrongDestination(HOW)
        if not there:
            path = Path(text).absolute()
            kind = Kind.ZIP if path.suffix.lower() == ".zip" else Kind.FOLDER
            return cls(kind=kind, text=str(path), path=path)
        if scheme not in ("dicom", "dicoms", "http", "https"):
            raise WrongDestination(HOW)
        try:
            parts = urlsplit(text)
            port = parts.port or 0
        except ValueError:
            raise WrongDestination(HOW) from None
        if not parts.hostname or parts.query or parts.fragment or parts.password:
            raise WrongDestination(HOW)
        if scheme in ("http", "https"):
            if parts.username:
                raise WrongDestination(HOW)
            return cls(kind=Kind.STOW, text=text, url=text.rstrip("/"), host=parts.hostname)
        if not port or not _TITLE.fullmatch(parts.username or "") or parts.path not in ("", "/"):
            raise WrongDestination(HOW)
        return cls(
            kind=Kind.C_STORE,
            text=text,
            ae_title=parts.username or "",
            host=parts.hostname,
            port=port,
            tls=scheme == "dicoms",
        )
