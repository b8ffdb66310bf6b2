"""The code as syntax trees, each read once for all the rules of the house."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


def trees(packages: Iterable[str]) -> Mapping[Path, ast.Module]:
    """The modules of some packages, by their paths."""
    return {path: tree_of(path) for package in packages for path in sorted((ROOT / package).rglob("*.py"))}


@cache
def tree_of(path: Path) -> ast.Module:
    """A module; not to be changed."""
    return ast.parse(path.read_text("utf-8"))
