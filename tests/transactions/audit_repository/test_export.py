"""Records are taken along by the command line and verified without the trail; holds are placed by it."""

from __future__ import annotations

import json

import pytest

from tests.transactions.audit_repository.test_audit_command import run, serving
from xdsi.failures import WrongUsage

STUDY = "2.999.5.1"


async def exported(tmp_path, *words):
    """The file of an export, the public key of its trail, and how the command ended."""
    file = tmp_path / "export.ndjson"
    async with serving(tmp_path / "data") as url:
        ended = await run("export", str(file), *map(str, words), "--url", url)
    return file, next(tmp_path.rglob("audit-signing.pub")), ended


async def test_an_export_holds_the_records_as_they_came_and_verifies_anywhere(tmp_path):
    file, key, ended = await exported(tmp_path, "--study", STUDY, "--messages", tmp_path / "messages")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    records = [line["record"] for line in lines if "record" in line]
    shown = await run("verify", "--export", str(file), "--key", str(key))

    assert ended.exit_code == 0, ended.output
    assert len(records) == 2
    assert {line["head"]["partition"] for line in lines if "head" in line} == {records[0]["partition"]}
    messages = sorted((tmp_path / "messages").iterdir(), key=lambda one: int(one.stem), reverse=True)
    assert [int(one.stem) for one in messages] == [one["sequence"] for one in records]
    assert all(b"<AuditMessage>" in one.read_bytes() for one in messages)
    assert "the export is whole: 2 records" in shown.output
    assert file.stat().st_mode & 0o077 == 0


async def test_an_export_that_was_changed_anywhere_does_not_verify(tmp_path):
    file, key, _ = await exported(tmp_path, "--study", STUDY)
    lines = file.read_bytes().splitlines(keepends=True)
    assert len(lines) == 5
    for place, line in enumerate(lines):
        for changed in (b"", line.replace(b"1", b"2", 1), line + line):
            file.write_bytes(b"".join([*lines[:place], changed, *lines[place + 1 :]]))
            shown = await run("verify", "--export", str(file), "--key", str(key))
            assert shown.exit_code == 1, (place, changed)


async def test_an_export_signed_by_another_key_does_not_verify(tmp_path):
    file, _, _ = await exported(tmp_path, "--study", STUDY)
    _, other, _ = await exported(tmp_path / "other", "--study", STUDY)

    assert (await run("verify", "--export", str(file), "--key", str(other))).exit_code == 1


async def test_an_export_overwrites_nothing(tmp_path):
    (tmp_path / "export.ndjson").write_text("mine")
    file, _, ended = await exported(tmp_path)

    assert ended.exit_code == 1
    assert file.read_text() == "mine"


async def test_who_exported_what_stands_in_the_trail(tmp_path):
    async with serving(tmp_path) as url:
        await run("export", str(tmp_path / "e"), "--study", STUDY, "--url", url)
        ended = await run("search", "--type", "110101", "--json", "--url", url)

    said = [one for use in json.loads(ended.output) for one in use["objects"][0]["details"].values()]
    assert [json.loads(one) for one in said] == [{"export": {"object": STUDY}}]


async def test_a_hold_is_placed_listed_and_released_and_each_is_in_the_trail(tmp_path):
    async with serving(tmp_path) as url:
        nothing = await run("hold", "add", "--reason", "r", "--url", url)
        placed = await run("hold", "add", "--patient", "P0001", "--reason", "a court asks", "--url", url)
        hold = placed.output.strip()
        first = json.loads((await run("hold", "list", "--json", "--url", url)).output)
        ends = [
            (await run("hold", "release", hold, "--reason", "case closed", "--url", url)).exit_code
            for _ in range(2)
        ]
        second = json.loads((await run("hold", "list", "--json", "--url", url)).output)
        told = json.loads((await run("search", "--type", "110129", "--json", "--url", url)).output)

    assert isinstance(nothing.exception, WrongUsage)
    assert (placed.exit_code, ends) == (0, [0, 1])
    assert [one["hold_id"] for one in first] == [hold]
    assert (first[0]["released"], bool(second[0]["released"])) == ("", True)
    assert [next(iter(one["objects"][-1]["details"].values())) for one in reversed(told)] == [
        "legal hold placed: a court asks",
        "legal hold released: case closed",
        "legal hold not released: case closed",
    ]
    assert told[-1]["patients"] == first[0]["patient"].split()


@pytest.mark.parametrize("words", [("add",), ("add", "--patient", "P0001"), ("release", "urn:uuid:1")])
async def test_nobody_changes_a_hold_without_a_reason(tmp_path, words):
    assert (await run("hold", *words)).exit_code == 2
