"""The steps of a page of `docs/`, carried out in a copy of the tree as somebody would who follows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: What is copied of the tree: everything but what tools and services leave behind, and modules with what they
#: were compiled to.
LEFT_OUT = shutil.ignore_patterns(".*", "node_modules", "var", "bench")

_FILE = re.compile(r"^`(?P<path>[\w./-]+)`$")
_FENCE = re.compile(r"^```(?P<language>\w*)$")


@dataclass(frozen=True)
class Block:
    """A block of a page; `path` is the file whose name stood on a line of its own before it."""

    language: str
    path: str
    text: str


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found, path, language, lines = [], "", "", []
    inside = False
    for line in page.read_text("utf-8").splitlines():
        fence = _FENCE.match(line)
        if inside and line == "```":
            found.append(Block(language, path, "".join(f"{one}\n" for one in lines)))
            inside = False
        elif inside:
            lines.append(line)
        elif fence:
            inside, language, lines = True, fence["language"], []
        elif named := _FILE.match(line):
            path = named["path"]
        elif line.startswith("#"):
            path = ""
    assert not inside, f"{page.name}: a block has no end"
    return found


@dataclass(frozen=True)
class Tree:
    """A copy of the tree in `folder`."""

    folder: Path

    @classmethod
    def copied_to(cls, folder: Path) -> Tree:
        """Copy the tree; what has an environment stays behind, its Python is used."""
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        return cls(folder)

    def follow(self, page: str) -> None:
        """Write the files of a page, and add its differences."""
        for block in blocks(self.folder / "docs" / page):
            if block.path and block.language == "diff":
                self._change(block)
            elif block.path and block.language == "python":
                path = self.folder / block.path
                assert not path.exists(), f"{block.path} is there already"
                path.write_text(block.text, "utf-8")

    def _change(self, block: Block) -> None:
        path = self.folder / block.path
        before = "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[:1] in (" ", "-"))
        after = "".join(f"{line[1:]}\n" for line in block.text.splitlines() if line[:1] in (" ", "+"))
        old = path.read_text("utf-8")
        assert old.count(before) == 1, f"{block.path} does not hold once what the page changes:\n{before}"
        path.write_text(old.replace(before, after), "utf-8")

    def run(self, *words: str) -> str:
        """What `python -m words` says in the copy; it has to succeed."""
        ended = subprocess.run(
            [sys.executable, "-m", *words], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def read(self, path: str) -> str:
        """The text of a file."""
        return (self.folder / path).read_text("utf-8")
