"""What catches whatever is raised, and what keeps a cancellation from work, are few places."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from tests.support.syntax import ROOT, trees

SERVICES = ("registry", "repository", "imaging_source", "consumer", "gateway", "audit_repository", "identity")
#: The roads of requests: SOAP and REST, and what both have in common.
ROADS = ["shared/perform.py", "shared/rest/service.py", "shared/soap/pipeline.py"]
HELPER = "shared/attempts.py"
#: Decoders written in Rust panic, which is no Exception: told as what they mean, in a process of their own.
PANICS = "shared/imaging/transcode.py"
ANYTHING = {"Exception", "BaseException"}


def modules() -> Mapping[str, ast.Module]:
    packages = (*SERVICES, "conformance", "shared", "xdsi")
    return {str(path.relative_to(ROOT)): tree for path, tree in trees(packages).items()}


def catches_anything(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or getattr(kind, "id", "") in ANYTHING for kind in kinds)


def goes_on(handler: ast.ExceptHandler) -> bool:
    """Whether what was caught is raised again, unchanged, after something was cleaned up."""
    last = handler.body[-1]
    everything = getattr(handler.type, "id", "") == "BaseException"
    return everything and isinstance(last, ast.Raise) and last.exc is None


def test_whatever_is_raised_is_caught_on_the_roads_and_by_attempts_alone():
    places = {
        path
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and catches_anything(node) and not goes_on(node)
    }
    assert places == {*ROADS, HELPER, PANICS}


def test_nothing_is_suppressed_whatever_it_is():
    suppressed = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "suppress"
        if {getattr(argument, "id", "") for argument in node.args} & ANYTHING
    ]
    assert suppressed == []


def test_work_is_done_to_its_end_in_one_way():
    """Work that is begun where it is shielded; a task that several wait for is another thing."""
    shielded = [
        path
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "asyncio.shield"
        if isinstance(node.args[0], ast.Call)
    ]
    assert shielded == [HELPER]
