"""What CONTRIBUTING.md tells to type is there to be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from tests.support.steps import blocks
from xdsi.cli import build

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("adding-a-*.md")]


def commands() -> Iterator[list[str]]:
    """Each line of the shell that the pages show, in words, without comments."""
    for page in PAGES:
        for block in blocks(page):
            if block.language == "sh" and "<<" not in block.text:
                for line in block.text.splitlines():
                    yield from (shlex.split(one, comments=True) for one in line.split("&&"))


COMMANDS = [words for words in commands() if words]


def of(program: str) -> list[list[str]]:
    found = [words[1:] for words in COMMANDS if Path(words[0]).name == program]
    assert found
    return found


def test_every_target_of_make_is_there():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {words[0] for words in of("make")} <= set(targets)
    named = re.findall(r"`make (\w+)`", "".join(page.read_text("utf-8") for page in PAGES))
    assert set(named) <= set(targets)


def test_every_subcommand_of_xdsi_is_there_with_its_options():
    for words in of("xdsi"):
        command = get_command(build(words[0]))
        while words and words[0] in getattr(command, "commands", {}):
            command, words = command.commands[words[0]], words[1:]
        options = {name for parameter in command.params for name in parameter.opts}
        assert not hasattr(command, "commands"), f"{words[0]} is no subcommand"
        assert {word for word in words if word.startswith("--")} <= options


def test_every_test_that_is_named_is_there_or_made_by_its_page():
    made = {block.path for page in PAGES for block in blocks(page) if block.language == "python"}
    for words in of("pytest"):
        for word in words:
            if word.startswith("tests/"):
                assert (ROOT / word).exists() or word in made


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "tests").iterdir() if path.is_dir()))
def test_every_folder_of_tests_is_told(folder: str):
    if folder != "__pycache__":
        assert f"| `tests/{folder}` |" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_the_peers_are_those_of_a_whole_run():
    (installed,) = re.findall(r'PEERS="(.+)"', (ROOT / ".ci" / "run").read_text("utf-8"))
    (told,) = (words[words.index("install") + 1 :] for words in of("sudo"))
    assert told == installed.split()
