"""What is installed: the library that a service needs, of the versions that were tested, and no more."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.syntax import ROOT, tree_of

PACKAGES = (
    "xdsi", "registry", "repository", "imaging_source", "consumer", "audit_repository", "gateway",
    "identity", "conformance", "shared",
)  # fmt: skip
# Found by another library where they are installed.
LOADED_BY_OTHERS = {
    "pyjpegls": "pydicom, JPEG-LS",
    "pylibjpeg": "pydicom, the plug-ins below",
    "pylibjpeg-openjpeg": "pydicom, JPEG 2000",
    "pylibjpeg-rle": "pydicom, RLE",
    "python-multipart": "Starlette, forms",
}
HEAVY = {"alembic", "asyncpg", "jinja2", "numpy", "obstore", "pydicom", "rich", "sqlalchemy"}


def pins(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9._-]+==\S+)", (ROOT / name).read_text("utf-8"), re.MULTILINE))


def names(pinned: set[str]) -> set[str]:
    return {pin.partition("==")[0] for pin in pinned}


def project() -> dict[str, list[str]]:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    of = {"": table["dependencies"], **table["optional-dependencies"]}
    return {extra: [re.split(r"[\[><=~! ]", one)[0] for one in listed] for extra, listed in of.items()}


def test_what_runs_is_locked_apart_from_what_develops_it_and_in_the_same_versions():
    run, develop = pins("requirements.lock"), pins("requirements-dev.lock")
    assert run < develop
    assert set(project()[""]) <= names(run)
    assert not set(project()["dev"]) & names(run)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_whatever_its_packages_need(lock: str):
    """It is installed without looking for dependencies: what it leaves out is not there."""
    locked = {canonicalize_name(name): name for name in names(pins(lock))}
    absent = {
        f"{name} needs {needed.name}"
        for name in locked.values()
        for needed in map(Requirement, installed_needs(name))
        if (needed.marker is None or needed.marker.evaluate({"extra": ""}))
        and canonicalize_name(needed.name) not in locked
    }
    assert absent == set()


def installed_needs(name: str) -> list[str]:
    """What an installed package needs; nothing of one that other machines have."""
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_every_dependency_is_imported_or_is_said_to_be_loaded_by_another():
    modules = {
        name.partition(".")[0]
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(tree_of(path))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    provided = packages_distributions()
    imported = {
        distribution.lower().replace("_", "-")
        for module in modules
        for distribution in provided.get(module, ())
    }
    assert set(project()[""]) - imported == set(LOADED_BY_OTHERS)


#: What a service begins with is imported once, and what is its own in a process for each.
LOADING = """
import importlib, os, sys, xdsi.cli, xdsi.serve, shared.http.server
for service in sys.argv[1:]:
    if not (child := os.fork()):
        importlib.import_module(f"{service}.app")
        print(service, *{name.partition(".")[0] for name in sys.modules}, flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""


@cache
def loaded() -> dict[str, set[str]]:
    """The top-level modules that are there once the application of a service was imported, by services."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADING, *NEEDED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {line.split()[0]: set(line.split()[1:]) for line in ran.stdout.splitlines()}


NEEDED = {
    "registry": {"sqlalchemy"},
    "repository": {"sqlalchemy"},
    "audit_repository": {"jinja2", "sqlalchemy"},
    "gateway": set(),
    "consumer": {"jinja2", "numpy", "pydicom"},
    "conformance": {"jinja2"},
    "identity": {"jinja2", "sqlalchemy"},
    "imaging_source": {"jinja2", "sqlalchemy", "pydicom", "numpy"},
}


@pytest.mark.parametrize("service", NEEDED)
def test_a_service_loads_no_heavy_library_that_it_can_answer_without(service):
    assert loaded()[service] & HEAVY == NEEDED[service]
