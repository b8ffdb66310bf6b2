"""Requirements and the rules that judge them are the same; each is shown by an example."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.corpus import signatures
from conformance.requirements import TABLE, requirements
from tests.unit.conformance.corpus import CORPUS

ROOT = Path(__file__).parents[3]
_ID = re.compile(r'"([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*-\d{3})"')
#: Mistakes of ours, which no example can show.
NOT_SHOWN = {"FILE-001", "FILE-002"}
#: What listens is no example; `tests/peers/test_tls_endpoints.py` shows these.
BY_ENDPOINTS = {id for id in requirements() if id.startswith("TLS-")}
#: Several files are no example; `test_collation.py` shows these.
BY_SEVERAL = {id for id in requirements() if id.startswith(("XDSI-ARCH-", "MADO-TWIN-"))}
#: Signatures are judged by whom somebody trusts; `test_signatures.py` shows these.
BY_TRUST = {example.finds for example in signatures.examples()}


def judged() -> set[str]:
    """The ids that stand in the code of the rules."""
    modules = [ROOT / "conformance" / "validation.py", *(ROOT / "conformance" / "rules").rglob("*.py")]
    readers = (ROOT / "conformance" / "readers").glob("*.py")
    return {id for path in (*modules, *readers) for id in _ID.findall(path.read_text("utf-8"))}


def test_every_requirement_is_judged_and_what_is_judged_is_a_requirement():
    assert judged() == set(requirements())


def test_an_id_stands_once():
    ids = re.findall(r"^([A-Z][A-Z0-9-]+-\d{3}) ", TABLE.read_text("utf-8"), re.MULTILINE)
    assert len(ids) == len(set(ids)) == len(requirements())


def test_every_requirement_is_shown_by_a_broken_example():
    shown = {example.finds for example in CORPUS}
    assert set(requirements()) - shown - NOT_SHOWN - BY_ENDPOINTS - BY_SEVERAL - BY_TRUST == set()


def test_a_requirement_has_a_clause_and_says_what_is_right():
    for one in requirements().values():
        assert one.clause
        assert one.text
        assert not one.text.endswith(".")
