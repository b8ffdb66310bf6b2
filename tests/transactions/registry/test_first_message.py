"""The message that CONTRIBUTING.md puts on the wire is answered as the page says."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from lxml import etree

from shared.messages.registry import Status
from tests.support.steps import blocks
from tests.transactions.registry.test_service import run, served
from xdsi import patient

PAGE = Path(__file__).parents[3] / "CONTRIBUTING.md"
ADDRESS = "http://127.0.0.1:8010"

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


async def sent(base: str, *, without: str = "") -> etree._Element:
    """What the registry at `base` answers to the page's command."""
    (command,) = (block.text for block in blocks(PAGE) if block.text.startswith("curl "))
    assert command.count(ADDRESS) == 1
    shell = command.replace(ADDRESS, base).replace(without, "")
    process = await asyncio.create_subprocess_exec("sh", "-c", shell, stdout=asyncio.subprocess.PIPE)
    answer, _ = await process.communicate()
    return etree.fromstring(answer)


async def test_the_first_message_of_a_newcomer_is_answered(tmp_path):
    async with served(tmp_path) as service:
        await run(patient.app, "add", "P-1001", "--name", "Roe^Rick", "--to", service.feed, env={})

        (response,) = (await sent(service.base)).iter("{*}AdhocQueryResponse")
        assert response.get("status") == Status.SUCCESS
        assert [len(objects) for objects in response.iter("{*}RegistryObjectList")] == [0]

        action = '<a:Action s:mustUnderstand="true">urn:ihe:iti:2007:RegistryStoredQuery</a:Action>'
        told = (await sent(service.base, without=action)).findtext(".//{*}Text")
        assert told == "the message needs the header wsa:Action"
        (error,) = (await sent(service.base, without="^^^&amp;")).iter("{*}RegistryError")
        assert "is not a patient id of the form" in error.get("codeContext")
