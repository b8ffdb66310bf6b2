"""The documentation says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from xdsi.documents import PAGES

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_printed_page_says_what_the_code_says(name: str):
    assert (DOCS / name).read_text("utf-8") == PAGES[name](), "run `python -m xdsi.documents`"
