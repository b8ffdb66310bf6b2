"""The page of requirements that `xdsi validate` judges, as it is printed into `docs/`."""

from __future__ import annotations

from conformance.requirements import sections
from xdsi.settings_page import WRITTEN

_INTRODUCTION = (
    "What `xdsi validate` judges ([conformance-testing.md](conformance-testing.md)). An id is permanent:",
    "what it demands is not changed, and no id is used again.",
)


def requirements_page() -> str:
    """Every requirement with its weight and its clause."""
    lines = ["# Requirements", "", WRITTEN, "", *_INTRODUCTION]
    for heading, requirements in sections():
        lines += ["", f"## {heading}", "", "| id | weight | requirement | clause |", "|---|---|---|---|"]
        lines += [
            f"| {one.id} | {one.severity} | {_escaped(one.text)} | {_escaped(one.clause)} |"
            for one in requirements
        ]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;")
