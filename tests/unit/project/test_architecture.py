"""The page on architecture, and the one for contributors, say what the code says."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from shared.security.rights import Right
from tests.support.syntax import ROOT, tree_of

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "docs/architecture.md"]
SERVICES = ("registry", "repository", "imaging_source", "consumer", "gateway", "audit_repository", "identity")
CODE = (*SERVICES, "conformance", "shared", "xdsi")

_PATH = re.compile(rf"`((?:{'|'.join((*CODE, 'tests', 'docs', 'bench'))})/[\w/.-]*)`")
_WORK = re.compile(r'(?:BackgroundWork|StreamListener)\(\s*"([^"]+)"')


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page: str):
    named = set(_PATH.findall((ROOT / page).read_text("utf-8")))
    assert named
    assert [path for path in sorted(named) if not _is_there(path)] == []


def _is_there(path: str) -> bool:
    return (ROOT / path).exists() or (ROOT / f"{path}.py").exists()


def test_the_layers_are_those_that_the_linter_holds():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    for contract in contracts:
        if contract["type"] == "layers":
            layers = " → ".join(re.sub("[()]", "", layer) for layer in contract["layers"])
            assert f"{contract['name']}\n    {layers}\n" in ARCHITECTURE


def test_every_work_beside_the_requests_is_named():
    works = {
        work
        for package in CODE
        for path in (ROOT / package).rglob("*.py")
        for work in _WORK.findall(path.read_text("utf-8"))
    }
    section = ARCHITECTURE.partition("\n## Work beside the requests\n")[2]
    named = {work for row in re.findall(r"^\|[^|]+\|([^|]+)\|$", section, re.M) for work in row.split(",")}
    assert works == {work.strip() for work in named} - {"works", "---"}


def test_every_part_of_shared_has_its_line():
    parts = {path.name for path in (ROOT / "shared").iterdir() if not path.name.startswith(("_", "."))}
    section = ARCHITECTURE.partition("| in `shared` | is |\n")[2].partition("\n\n")[0]
    named = {
        Path(name).name
        for row in section.splitlines()
        for name in re.findall(r"`([\w.]+)`", row.split("|")[1])
    }
    assert parts - {"py.typed", "wsdl"} == named


def test_settings_of_rights_are_named_as_they_are():
    for named in re.findall(r"XDSI_RIGHTS__([A-Z]+)", ARCHITECTURE):
        assert named.lower() in list(Right)


def test_what_is_served_over_rest_catches_nothing():
    """That is the wing's: `shared.rest.service` and `problems` of the value."""
    trying = [
        str(path.relative_to(ROOT))
        for name in SERVICES
        for path in (ROOT / name).rglob("*.py")
        if "ServedRest(" in path.read_text("utf-8")
        and any(isinstance(node, ast.Try) for node in ast.walk(tree_of(path)))
    ]
    assert trying == []
