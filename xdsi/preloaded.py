"""What services read at their start, read once by the process that forks them (`xdsi.forked`)."""

from __future__ import annotations

import importlib

from xdsi.loading import loading
from xdsi.services import Service

with loading():
    for _module in ("xdsi.cli", "xdsi.serve", *(f"{service.package}.app" for service in Service)):
        importlib.import_module(_module)
