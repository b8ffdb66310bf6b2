"""What the pages for newcomers tell to do works, step by step, in a copy of the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import zeep

from tests.support.steps import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree.copied_to(tmp_path / "xdsi")


def passed(report: str) -> int:
    """How many tests passed by the report of pytest."""
    found = re.search(r"(\d+) passed", report)
    return int(found[1]) if found else 0


def test_a_soap_transaction_is_added_by_the_steps_of_its_page(tree):
    tree.follow("adding-a-soap-transaction.md")

    # Served, recorded, counted, and nobody is answered: by the test that the page begins with.
    report = tree.run("pytest", "-q", "tests/transactions/registry/test_hie1.py", "-k", "not postgresql")
    assert passed(report) == 5
    tree.run("ruff", "check", "--no-cache", ".")
    tree.run("ruff", "format", "--no-cache", "--check", ".")
    tree.run("xdsi.documents")
    statement = tree.read("docs/conformance-statement.md")
    action = "urn:example:hie:2026:PatientKnown"
    assert f"| registry | HIE-1 | Patient Known | SIMPLE | user | `{action}` |" in statement
    assert re.search(r"^\| ask \|.* HIE-1,", statement, re.MULTILINE)
    wsdl = tree.folder / "shared" / "wsdl" / "registry.wsdl"
    client = zeep.Client(str(wsdl))
    assert client.service["DocumentRegistry_PatientKnown"]
    assert client.get_element("{urn:example:hie:2026}PatientKnownResponse")(known=True).known
