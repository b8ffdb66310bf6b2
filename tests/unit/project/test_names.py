"""Names are nouns of the field: what a class is called says what it is, and no participle stands alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.syntax import ROOT, tree_of

PACKAGES = (
    "registry", "repository", "imaging_source", "consumer", "gateway", "audit_repository",
    "identity", "conformance", "shared", "xdsi",
)  # fmt: skip


def _modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path, tree_of(path)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_class_name_is_used_once(package: str):
    places: dict[str, list[str]] = {}
    for path, tree in _modules(package):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


#: How often each of these stands alone as the name of a variable or a parameter, at most: a number may fall,
#: and none may rise. A noun says what it is: instances, digest, manifest.
PARTICIPLES = {
    "found": 4,
    "asked": 2,
    "wanted": 0,
    "known": 22,
    "given": 8,
    "named": 4,
    "made": 24,
    "came": 3,
    "told": 1,
    "said": 0,
    "kept": 8,
    "sent": 20,
    "taken": 7,
    "held": 5,
    "gone": 8,
    "seen": 9,
    "moved": 3,
}


def test_a_participle_stands_alone_no_more_often_than_it_did():
    places: dict[str, list[str]] = {word: [] for word in PARTICIPLES}
    for package in PACKAGES:
        for path, tree in _modules(package):
            for word, line in _bindings(tree):
                if word in places:
                    places[word].append(f"{path.relative_to(ROOT)}:{line}")
    risen = {word: where for word, where in places.items() if len(where) > PARTICIPLES[word]}
    assert {word: (len(where), *where) for word, where in risen.items()} == {}


def _bindings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
