"""Where settings are given: a TOML file, the credentials of systemd, the environment.

Each is a layer, and the later one wins. Nothing else in the product reads the environment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from shared.settings.error import SettingsError
from shared.settings.names import PREFIX, nested


class OriginKind(StrEnum):
    """By what a value was given."""

    DEFAULT = "default"
    FILE = "file"
    CREDENTIAL = "credential"
    VARIABLE = "variable"
    ARGUMENT = "argument"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was given: under which name, and in which file or folder."""

    kind: OriginKind
    variable: str = ""
    place: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.kind, self.place or self.variable) if word)


DEFAULT = Origin(OriginKind.DEFAULT)


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source gives."""

    kind: OriginKind
    table: Mapping[str, Any]
    place: str = ""


def layers(config: Path | None = None, environ: Mapping[str, str] | None = None) -> tuple[Layer, ...]:
    """The sources in the order of their strength, the strongest last.

    Raises
    ------
    SettingsError
        One cannot be read.
    """
    environment = os.environ if environ is None else environ
    credentials = environment.get("CREDENTIALS_DIRECTORY", "")
    return (
        Layer(OriginKind.FILE, _file(config), str(config or "")),
        Layer(OriginKind.CREDENTIAL, nested(_credentials(credentials)), credentials),
        Layer(OriginKind.VARIABLE, nested(environment)),
    )


def content(path: Path) -> str:
    """The text in a file that holds one value, without the end of its line."""
    return path.read_text("utf-8").rstrip("\r\n")


def why(error: OSError | ValueError) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, UnicodeDecodeError):
        return "not in UTF-8"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _file(config: Path | None) -> dict[str, Any]:
    """The table in a TOML file."""
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text("utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); name a TOML file"
    except UnicodeDecodeError:
        reason = "is not in UTF-8; write it so"
    except tomllib.TOMLDecodeError as error:
        reason = f'is no TOML: {error}; a setting is written name = "value"'
    except RecursionError:
        reason = "is nested too deep"
    raise SettingsError((f"--config: {config} {reason}",))


def _credentials(folder: str) -> dict[str, str]:
    """The credentials that systemd gives this service, of those that are named as settings are."""
    if not folder:
        return {}
    try:
        files = [path for path in Path(folder).iterdir() if path.name.upper().startswith(PREFIX)]
        return {path.name.upper(): content(path) for path in files}
    except (OSError, ValueError) as error:
        raise SettingsError((f"CREDENTIALS_DIRECTORY: {folder} cannot be read ({why(error)})",)) from None
