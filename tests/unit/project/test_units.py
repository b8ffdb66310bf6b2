"""What a transaction works with has one form in every service: unit, request, how consent is asked for."""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import Any

import pytest

from shared.perform import UnitOfWork
from shared.rest.served import ServedRest
from shared.soap.served import Served
from tests.support.syntax import ROOT, tree_of

SERVICES = ("registry", "repository", "imaging_source", "consumer", "gateway", "audit_repository", "identity")
ROADS = ("shared/perform.py", "shared/soap/pipeline.py", "shared/soap/client.py", "shared/rest/service.py")


def served() -> list[Any]:
    """All that is served, over SOAP and over REST."""
    modules = [importlib.import_module(f"{service}.transactions") for service in SERVICES]
    modules += [importlib.import_module(f"consumer.{room}") for room in ("api", "pages")]
    modules += [importlib.import_module(f"conformance.{room}") for room in ("api", "pages")]
    modules += [importlib.import_module("identity.pages")]
    tuples = [getattr(module, name, ()) for module in modules for name in ("SERVED", "SERVED_REST")]
    return [one for each in tuples for one in each]


def name_of(one: Served[Any, Any] | ServedRest[Any, Any]) -> str:
    return one.transaction.number if isinstance(one, Served) else one.name


@pytest.mark.parametrize("one", served(), ids=name_of)
def test_handle_takes_a_unit_and_a_request(one: Any):
    assert len(inspect.signature(one.handle).parameters) == 2


@pytest.mark.parametrize("one", [one for one in served() if isinstance(one, Served)], ids=name_of)
def test_codecs_read_an_element_with_its_attachments_and_write_a_body(one: Served[Any, Any]):
    transaction = one.transaction
    for decode in (transaction.decode_request, transaction.decode_response):
        positional = [
            parameter
            for parameter in inspect.signature(decode).parameters.values()
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
        ]
        assert len(positional) == 2
    for encode in (transaction.encode_request, transaction.encode_response):
        assert inspect.signature(encode).return_annotation == "MtomBody"


@pytest.mark.parametrize("service", [each for each in SERVICES if each != "consumer"])
def test_a_unit_is_made_of_the_parts_and_the_caller(service: str):
    unit = importlib.import_module(f"{service}.unit").Unit
    assert issubclass(unit, UnitOfWork)
    needed = [
        name
        for name, parameter in inspect.signature(unit).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    assert needed == ["parts", "caller"]


def test_consent_is_asked_by_the_unit_alone():
    asking = {
        str(path.relative_to(ROOT))
        for service in SERVICES
        for path in (ROOT / service).rglob("*.py")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "decide"
        if ast.unparse(node.value).endswith((".consent", ".decisions"))
    }
    assert asking == {"registry/unit.py", "repository/unit.py", "imaging_source/unit.py"}


@pytest.mark.parametrize("road", ROADS)
def test_what_a_road_needs_of_a_response_is_said_by_a_protocol(road: str):
    """And not looked for by name."""
    looked_for = [
        node.lineno
        for node in ast.walk(tree_of(ROOT / road))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr"
    ]
    assert looked_for == []
