"""WADO-RS Retrieve [RAD-107]: what this source keeps, as `shared.imaging` gives it."""

from __future__ import annotations

from typing import Any, Final

from shared.imaging import rendered, wado_rs_http
from shared.rest.served import ServedRest

SERVED: Final[tuple[ServedRest[Any, Any], ...]] = (wado_rs_http.SERVED, rendered.SERVED)
