"""The command line, which alone knows every service, and the library: `xdsi.connect`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from consumer.domain.studies import FoundStudy
    from consumer.imaging_document_consumer import Retrieval
    from shared.security.possession import BoundToken
    from shared.security.proving import ProvingKey
    from shared.settings import SettingsError
    from xdsi.failures import Failed
    from xdsi.library import AsyncClient, Client, connect

__all__ = [
    "AsyncClient",
    "BoundToken",
    "Client",
    "Failed",
    "FoundStudy",
    "ProvingKey",
    "Retrieval",
    "SettingsError",
    "connect",
]

# The command line is done before the library is loaded; who uses it loads it with the first name.
_MODULES = {
    "AsyncClient": "xdsi.library",
    "BoundToken": "shared.security.possession",
    "Client": "xdsi.library",
    "Failed": "xdsi.failures",
    "FoundStudy": "consumer.domain.studies",
    "ProvingKey": "shared.security.proving",
    "Retrieval": "consumer.imaging_document_consumer",
    "SettingsError": "shared.settings",
    "connect": "xdsi.library",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'xdsi' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
