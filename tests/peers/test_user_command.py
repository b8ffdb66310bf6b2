"""`xdsi user` keeps who the people of a community are, at an identity service on a socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import identity.app
from identity.settings import IdentitySettings
from shared.http.server import start_server
from tests.support.identity import settings_of
from xdsi.failures import Failed
from xdsi.stage import free_ports
from xdsi.user import app

ADD = (
    *("add", "dr.roe", "--login", "2440@https://login.example", "--role", "RAD-PHYS^^2.999.40.1"),
    *("--display-name", "Dr. Roe", "--organization-id", "urn:oid:2.999.7"),
)


async def test_people_are_added_listed_and_disabled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("XDSI_IDENTITY__PORT", str(port))
    settings = IdentitySettings.load(None, {}, **settings_of(tmp_path, port=port))
    service = await identity.app.build(settings)
    await service.start()
    server = await start_server(service.asgi, settings, on_tls_failure=service.node_refused)

    async def typed(*words: str):
        return await asyncio.to_thread(CliRunner().invoke, app, words)

    try:
        added = await typed(*ADD)
        twice = await typed("add", "dr.doe", "--login", "2440@https://login.example")
        disabled = await typed("disable", "dr.roe")
        nobody = await typed("disable", "dr.who")
        listed = await typed("list")
        as_json = json.loads((await typed("list", "--json")).stdout)
    finally:
        await server.stop(1.0)
        await service.stop()
    unreachable = await typed("list")

    assert (added.exit_code, added.stdout) == (0, "kept dr.roe\n")
    assert isinstance(twice.exception, Failed)
    assert "of dr.roe already" in str(twice.exception)
    assert disabled.stdout == "disabled dr.roe\n"
    assert "nobody of this name" in str(nobody.exception)
    assert "1 person" in listed.stdout
    assert "2440@https://login.example" in listed.stdout.replace("\n", "")
    assert [(one["name"], one["roles"], one["disabled"]) for one in as_json] == [
        ("dr.roe", ["RAD-PHYS^^2.999.40.1"], True)
    ]
    assert "xdsi serve identity" in str(unreachable.exception)
