"""The Imaging Document Consumer: finds and fetches, for a user or another program.

`from consumer import connect` is the library, `xdsi.connect` under the name of the actor.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["connect"]


def __getattr__(name: str) -> Any:
    # For programs alone: no service takes this way up, and nothing is loaded before somebody does.
    if name not in __all__:
        raise AttributeError(f"module 'consumer' has no attribute {name!r}")
    return getattr(import_module("xdsi.library"), name)
