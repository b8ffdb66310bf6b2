"""What no route takes is told as a problem, too."""

from __future__ import annotations

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from shared.http.application import application


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("POST", "/there", 405)])
async def test_an_address_or_a_method_that_is_not_served_is_told_as_a_problem(method, path, status):
    app = application([Route("/there", lambda _: JSONResponse({}), methods=["GET"])])
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://x") as http:
        answer = await http.request(method, path)

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["detail"]
