"""How a SOAP request ended stands in its line of the log, and nothing of what it said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared.errors import RegistryNotAvailable
from shared.faults import SecurityFault
from shared.http.raw_asgi import FileRange
from shared.soap.mtom import Content
from tests.support.http_server import connected, serving, until
from tests.support.logs import answered, log_lines
from tests.support.soap_exchange import (
    MTOM,
    SOAP,
    Documents,
    Doorkeeper,
    House,
    a_house,
    a_keep,
    a_package,
    a_root,
    an_echo,
    refusing,
)

NAME = "Kanarienvogel"


async def mistaken(*_: Any) -> Any:
    raise ValueError(NAME)


async def line_of(house: House, body: bytes, content_type: str = SOAP) -> dict[str, Any]:
    head = f"POST /xds HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
    with log_lines() as lines:
        async with serving(house.service.asgi) as server, connected(server.port) as client:
            await client.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await client.answer()
        await until(lambda: bool(answered(lines)))
        assert NAME not in repr(lines())
        (line,) = answered(lines)
        return line


@pytest.mark.parametrize(
    ("changes", "body", "transaction", "outcome", "status"),
    [
        ({}, an_echo(NAME), "TEST-1", "success", 200),
        ({"handle_echo": refusing(RegistryNotAvailable(NAME))}, an_echo(NAME), "TEST-1", "failure", 200),
        ({"handle_echo": mistaken}, an_echo(NAME), "TEST-1", "error", 200),
        (
            {"doorkeeper": Doorkeeper(SecurityFault("InvalidSecurity", "no"))},
            an_echo(NAME),
            "TEST-1",
            "fault",
            500,
        ),
        ({}, f"<{NAME}".encode(), "", "fault", 400),
        ({}, an_echo(NAME, action=f"urn:{NAME}"), "", "fault", 500),
    ],
    ids=["success", "failure", "mistake", "stranger", "nonsense", "unknown action"],
)
async def test_the_line_of_a_request_says_how_it_ended(
    tmp_path: Path, changes: dict[str, Any], body: bytes, transaction: str, outcome: str, status: int
):
    line = await line_of(a_house(tmp_path, **changes), body)
    assert (line["transaction"], line["outcome"]) == (transaction, outcome)
    assert (line["status"] == 200) == (status == 200)


async def test_an_answer_that_breaks_off_is_told_as_that(tmp_path: Path):
    (tmp_path / "short").write_bytes(b"x" * 10)

    async def handle(*_: Any) -> Documents:
        content: Content = FileRange(tmp_path / "short", 0, 1_000)
        return Documents((content,))

    line = await line_of(a_house(tmp_path, handle_keep=handle), a_package(a_root(a_keep())), MTOM)
    assert (line["transaction"], line["outcome"]) == ("TEST-2", "broken off")
