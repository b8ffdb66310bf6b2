"""WADO-RS Retrieve [RAD-107]: what this source and its archives keep, as `shared.imaging` gives it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from imaging_source.transactions import archived
from imaging_source.unit import Unit
from shared.imaging import rendered, wado_rs, wado_rs_http
from shared.imaging.rendered import RenderRequest
from shared.imaging.wado_rs import RetrieveRequest, RetrieveResponse
from shared.rest.served import ServedRest


async def retrieve(unit: Unit, request: RetrieveRequest) -> RetrieveResponse:
    """Give what of the resource the caller may have."""
    await archived.compare(unit, request.study_instance_uid, request.sop_instance_uid)
    return await wado_rs.handle(unit, request)


async def render(unit: Unit, request: RenderRequest) -> RetrieveResponse:
    """Render what of the resource the caller may have."""
    await archived.compare(unit, request.resource.study_instance_uid, request.resource.sop_instance_uid)
    return await rendered.handle(unit, request)


def _served(of: ServedRest[Any, Any], handle: Any) -> ServedRest[Any, Any]:
    return replace(of, handle=handle, problems={**of.problems, **archived.PROBLEMS})


SERVED: Final[tuple[ServedRest[Any, Any], ...]] = (
    _served(wado_rs_http.SERVED, retrieve),
    _served(rendered.SERVED, render),
)
