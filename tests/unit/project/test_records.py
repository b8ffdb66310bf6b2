"""What is recorded is known in one room: `shared/audit`."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from shared.audit import limits
from tests.support.syntax import ROOT, trees

CODE = (
    "registry",
    "repository",
    "imaging_source",
    "consumer",
    "gateway",
    "audit_repository",
    "shared",
    "xdsi",
)
ROOM = ROOT / "shared" / "audit"


def everywhere() -> Mapping[Path, ast.Module]:
    return trees(CODE)


def outside() -> Mapping[Path, ast.Module]:
    return {path: tree for path, tree in everywhere().items() if ROOM not in path.parents}


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
            yield node


def names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def shown(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"  # type: ignore[attr-defined]


def test_no_event_is_put_together_elsewhere():
    assert [shown(path, call) for path, tree in outside().items() for call in calls(tree, "AuditEvent")] == []


def test_the_event_of_a_retrieval_of_instances_is_written_once():
    """RAD-69 at the imaging source, at the consumer and at both gateways."""
    (written,) = [
        node
        for tree in everywhere().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and "INSTANCES_ACCESSED" in names(node)
    ]
    assert written.name == "instances"


def test_a_transaction_says_itself_how_it_is_recorded():
    """`event_type` of either wing, and no number and name put together where a record is made."""
    named = [
        shown(path, call)
        for path, tree in outside().items()
        for call in calls(tree, "ihe")
        if all(isinstance(argument, ast.Attribute) for argument in call.args)
    ]
    assert [place.partition(":")[0] for place in named] == [
        "shared/rest/served.py",
        "shared/soap/transaction.py",
    ]


def test_the_bounds_of_a_record_are_defined_once():
    own = {name for name in vars(limits) if name.startswith("MAX_")}
    assert own == {"MAX_RECORD", "MAX_OBJECTS", "MAX_NAMED", "MAX_QUERY", "MAX_VALUE", "MAX_PARTS"}
    again = [
        shown(path, node)
        for path, tree in everywhere().items()
        for node in tree.body
        if path != ROOM / "limits.py" and ROOM in path.parents
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and own & _assigned(node)
    ]
    assert again == []


def _assigned(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {name for target in targets for name in names(target)}


def test_who_describes_a_request_shortens_nothing():
    """How many objects a record names, and how much of a query, is for the bounds to say."""
    shortening = [
        shown(path, node)
        for path, tree in outside().items()
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        and function.returns is not None
        and "AuditEvent" in names(function.returns)
        for node in ast.walk(function)
        if isinstance(node, ast.Slice)
    ]
    assert shortening == []
