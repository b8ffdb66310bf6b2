"""Loading of modules: what they make stays, so that nothing is garbage that a collector could find."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Without collector meanwhile, which takes a seventh of the time; later it passes over what is here."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
