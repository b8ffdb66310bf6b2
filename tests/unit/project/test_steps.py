"""What the pages for newcomers tell to do works, step by step, in a copy of the tree."""

from __future__ import annotations

import json
import re

import pytest
import zeep

from tests.support.steps import ROOT, Tree, blocks

PAGES = ("adding-a-soap-transaction.md", "adding-a-rest-transaction.md")


def files_of(page: str) -> list[str]:
    """The files that whoever follows a page writes."""
    return [block.path for block in blocks(ROOT / "docs" / page) if block.language == "python"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy in which both pages were followed, up to printing what others read."""
    if taken := [path for page in PAGES for path in files_of(page) if (ROOT / path).exists()]:
        pytest.skip(f"the steps were taken in this tree itself: {', '.join(taken)} are there")
    copy = Tree.copied_to(tmp_path_factory.mktemp("steps") / "xdsi")
    for page in PAGES:
        copy.follow(page)
    copy.run("xdsi.documents")
    return copy


def test_the_tests_that_the_pages_begin_with_pass(tree):
    """They show that each is served, recorded and counted, and refuses a stranger."""
    of_pages = [f"tests/transactions/registry/{name}.py" for name in ("test_hie1", "test_patient_known")]
    report = tree.run("pytest", "-q", *of_pages, "-k", "not postgresql")

    assert re.search(r"^11 passed", report, re.MULTILINE), report


def test_the_code_of_the_pages_is_as_code_looks_here(tree):
    tree.run("ruff", "check", "--no-cache", ".")
    tree.run("ruff", "format", "--no-cache", "--check", ".")


def test_a_new_soap_transaction_stands_in_what_others_read(tree):
    statement = tree.read("docs/conformance-statement.md")
    action = "urn:example:hie:2026:PatientKnown"
    assert f"| registry | HIE-1 | Patient Known | SIMPLE | user | `{action}` |" in statement
    assert re.search(r"^\| ask \|.* HIE-1,", statement, re.MULTILINE)
    client = zeep.Client(str(tree.folder / "shared" / "wsdl" / "registry.wsdl"))
    assert client.service["DocumentRegistry_PatientKnown"]
    assert client.get_element("{urn:example:hie:2026}PatientKnownResponse")(known=True).known


def test_a_new_rest_transaction_stands_in_what_others_read(tree):
    described = json.loads(tree.read("docs/openapi-registry.json"))["paths"]["/patients/known"]["post"]
    assert described["x-right"] == "ask"
    assert described["requestBody"]["content"]["application/json"]["schema"]
    statement = tree.read("docs/conformance-statement.md")
    assert re.search(r"^\| ask \|.* `POST /patients/known`", statement, re.MULTILINE)
