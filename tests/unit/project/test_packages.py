"""The flat package names are ours: a distribution of the same name would be loaded instead."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = (
    "xdsi", "registry", "repository", "imaging_source", "consumer", "audit_repository", "gateway",
    "identity", "conformance", "shared",
)  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_each_package_is_loaded_from_this_checkout(name: str):
    loaded = importlib.import_module(name).__file__
    assert loaded is not None
    assert Path(loaded).parent == ROOT / name
    assert (ROOT / name / "py.typed").exists()


def test_xml_parsers_are_made_in_one_place_only():
    makers = [
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
        if "XMLParser(" in path.read_text("utf-8")
    ]
    assert makers == ["shared/xml.py"]
