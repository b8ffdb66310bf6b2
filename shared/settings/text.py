"""Values of settings as one writes them in the environment."""

from __future__ import annotations

import json
import re
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shared.settings.group import HIDDEN

_PASSWORD_IN_URL = re.compile(r"(://[^:/?#@\s]*):[^@\s]*@")


def without_passwords(text: str) -> str:
    """`text` with the passwords of its URLs hidden."""
    return _PASSWORD_IN_URL.sub(rf"\1:{HIDDEN}@", text)


def written(value: Any) -> str:
    """The value of a setting as the environment would give it; empty when nothing is meant."""
    plain = _plain(value)
    if plain is None or plain in ([], {}):
        return ""
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    match value:
        case Enum():
            return value.value
        case Path():
            return str(value)
        case BaseModel():
            return _plain(value.model_dump())
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case float() if value.is_integer():
            return int(value)
    return value
