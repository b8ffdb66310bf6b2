"""Whoever follows a link of our pages arrives: at a file that is there, at a heading that it has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_CITED = re.compile(r"docs/(?:decisions/\d{4}|[a-z-]+\.md)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def links_of(page: Path) -> Iterator[str]:
    """The links of a page that lead to our own files."""
    for found in _LINK.finditer(_CODE.sub("", page.read_text("utf-8"))):
        if "://" not in found["target"]:
            yield found["target"]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page, as its headings give them."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing(page: Path) -> list[str]:
    """The links of a page that lead nowhere."""
    lost = []
    for target in links_of(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            lost.append(target)
    return lost


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path):
    assert missing(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One page\n\n[here](#one-page) [not here](#two) [gone](gone.md) `[code](x.md)`\n", "utf-8"
    )
    assert missing(page) == ["#two", "gone.md"]


def test_every_page_that_the_code_or_the_changelog_cites_is_there():
    cited = {
        found
        for path in [*ROOT.glob("*.md"), *ROOT.glob("*/**/*.py")]
        if not path.relative_to(ROOT).parts[0].startswith(".")
        for found in _CITED.findall(path.read_text("utf-8"))
    }
    assert "docs/architecture.md" in cited
    assert [page for page in sorted(cited) if not [*ROOT.glob(f"{page}*")]] == []


def test_the_pages_for_newcomers_are_linked_from_the_first_one():
    linked = set(links_of(ROOT / "README.md"))
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert pages <= linked
