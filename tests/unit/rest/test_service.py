"""The way of a REST request: who is let in, what is recorded before the answer, and how errors are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import httpx2
import pytest
from pydantic import BaseModel

from shared.audit.events import SECURITY_ALERT, AuditEvent, Outcome
from shared.audit.refusals import Refusals
from shared.audit.spool import AuditUnavailable
from shared.errors import Busy, Rejected, UnknownPatientId
from shared.faults import SecurityFault
from shared.http.application import application
from shared.http.pieces import FileRange
from shared.http.problem import Conflict, HttpProblem, NotFound, Unauthorized
from shared.http.raw_asgi import ClientGone
from shared.perform import UnitOfWork
from shared.rest.error_form import ErrorForm, ProblemDetails
from shared.rest.message import HttpRequest, HttpResponse, JsonBody, json_response
from shared.rest.openapi import openapi
from shared.rest.scheme import Bearer, Scheme
from shared.rest.served import ServedRest
from shared.rest.service import RestService
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller
from shared.security.rights import Right
from shared.security.speaker import Speaker
from shared.settings import ServiceSettings
from shared.telemetry.metrics import Metrics
from tests.support.certificates import assertion_for, bearer, communities
from tests.support.rest import client_of

URL = "http://127.0.0.1:8010"
NORTH, _ = communities()
SETTINGS = {"assertion": {"issuers": {NORTH.issuer: NORTH.provider.certificate}}}


class Question(BaseModel):
    """What is asked."""

    word: str


class Unheard(Exception):
    """An error of the transaction's own."""


@dataclass
class Trail:
    """Keeps events, until it is `full`."""

    events: list[AuditEvent] = field(default_factory=list)
    full: bool = False

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.record)

    async def record(self, events: Sequence[AuditEvent]) -> None:
        if self.full:
            raise AuditUnavailable("full")
        self.events += events

    @property
    def outcomes(self) -> list[tuple[str, int]]:
        return [(event.event_id.code, int(event.outcome)) for event in self.events]


@dataclass
class House:
    """A service of one transaction, its trail and its metrics."""

    trail: Trail
    metrics: Metrics
    app: object

    def client(self, address: str = "127.0.0.1") -> httpx2.AsyncClient:
        return client_of(self.app, URL, address=address)

    async def ask(self, word: str = "hello", **headers: str) -> httpx2.Response:
        async with self.client() as http:
            return await http.post("/words", json={"word": word}, headers=headers)

    def counted(self, outcome: str) -> float:
        found = f'xdsi_transactions_total{{outcome="{outcome}",transaction="T-1"}}'
        lines = self.metrics.render().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith(found))


async def answer(unit: UnitOfWork[None], request: Question) -> dict[str, str]:
    """Answer the question."""
    errors = {
        "conflict": Conflict("that contradicts"),
        "unheard": Unheard("nobody heard it"),
        "busy": Busy("come again"),
        "unknown": UnknownPatientId("who is that"),
        "rejected": Rejected(UnknownPatientId("one"), Busy("two")),
        "mistake": RuntimeError("SECRET"),
        "gone": ClientGone("no more"),
    }
    if request.word in errors:
        raise errors[request.word]
    return {"word": request.word, "user": unit.caller.user.name_id if unit.caller.user else ""}


def audit(
    _: Question, response: dict[str, str] | None, __: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    return (AuditEvent(event_id=SECURITY_ALERT, action="E", outcome=outcome),)


SERVED = ServedRest(
    number="T-1",
    name="Words",
    routes=("POST /words",),
    right=Right.ASK,
    decode=JsonBody(Question, limit=1_000),
    handle=answer,
    audit=audit,
    encode=json_response,
    problems={Unheard: NotFound},
)


def a_house(
    served: ServedRest = SERVED,
    *,
    schemes: Sequence[Scheme] = (Bearer(),),
    error_forms: Sequence[ErrorForm] = (ProblemDetails(),),
    **changes: object,
) -> House:
    settings = ServiceSettings.model_validate({**SETTINGS, **changes})
    trail, metrics = Trail(), Metrics("tests")
    service = RestService(
        unit=partial(UnitOfWork, None),
        authenticator=Authenticator(settings),
        recorder=trail,
        settings=settings,
        metrics=metrics,
        schemes=schemes,
        error_forms=error_forms,
    )
    return House(trail, metrics, application(service.routes([served])))


def told(response: httpx2.Response) -> str:
    """The detail of a problem, which has the form of RFC 9457."""
    assert response.headers["content-type"] == "application/problem+json"
    content = response.json()
    assert content["status"] == response.status_code
    assert content["title"]
    return content["detail"]


async def test_a_request_is_performed_recorded_and_counted():
    house = a_house()

    response = await house.ask()

    assert response.json() == {"word": "hello", "user": ""}
    assert house.trail.outcomes == [("110113", 0)]
    assert house.counted("success") == 1


async def test_nothing_leaves_that_cannot_be_recorded():
    house = a_house()
    house.trail.full = True

    response = await house.ask()

    assert response.status_code == 503
    assert "audit trail" in told(response)
    assert "hello" not in response.text
    assert response.headers["retry-after"]


@pytest.mark.parametrize(
    ("word", "status", "detail", "outcome"),
    [
        ("conflict", 409, "that contradicts", "failure"),
        ("unheard", 404, "nobody heard it", "failure"),
        ("busy", 503, "come again", "failure"),
        ("unknown", 422, "who is that", "failure"),
        ("rejected", 422, "one", "failure"),
        ("mistake", 500, "internal error", "error"),
    ],
)
async def test_what_goes_wrong_is_recorded_counted_and_told_as_a_problem(word, status, detail, outcome):
    house = a_house()

    response = await house.ask(word)

    assert response.status_code == status
    assert detail in told(response)
    assert "SECRET" not in response.text
    assert house.trail.outcomes == [("110113", 8)]
    assert house.counted(outcome) == 1


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 900, "application/json", 400),
        (b'{"word": 1}', "application/json", 400),
        (b"", "application/json", 400),
        (b'{"word": "a"}', "text/plain", 415),
        (b'{"word": "' + b"a" * 2_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_cannot_be_read_is_a_fault_and_nothing_is_performed(body, kind, status):
    house = a_house()

    async with house.client() as http:
        response = await http.post("/words", content=body, headers={"content-type": kind})

    assert response.status_code == status
    assert told(response)
    assert house.trail.events == []
    assert house.counted("fault") == 1


async def test_who_may_not_is_refused_and_recorded_before_anything_is_read():
    house = a_house()

    async with house.client("192.0.2.9") as http:
        response = await http.post("/words", content=b"{")

    assert response.status_code == 403
    assert "XDSI_RIGHTS__ASK" in told(response)
    assert [event.event_types[0].code for event in house.trail.events] == ["110126"]
    assert house.counted("fault") == 1


async def test_where_a_user_is_needed_the_challenge_says_how_and_the_assertion_names_the_user():
    served = replace(SERVED, speaker=Speaker.USER)
    house = a_house(served, xua="required")

    nobody = await house.ask()
    wrong = await house.ask(authorization="Bearer nonsense")
    assertion = assertion_for("dr.north", audience=f"{URL}/words")
    someone = await house.ask(authorization=f"bearer  {bearer(assertion)}")

    assert [one.status_code for one in (nobody, wrong, someone)] == [401, 401, 200]
    assert nobody.headers["www-authenticate"] == 'Bearer realm="xdsi"'
    assert wrong.headers["www-authenticate"] == 'Bearer realm="xdsi", error="invalid_token"'
    assert someone.json()["user"] == "dr.north"
    assert told(nobody)
    assert [event.event_id.code for event in house.trail.events] == ["110114", "110113"]


async def test_a_refusal_that_cannot_be_recorded_is_none_either():
    house = a_house()
    house.trail.full = True

    async with house.client("192.0.2.9") as http:
        response = await http.post("/words", json={"word": "hello"})

    assert response.status_code == 503


class Outcomes:
    """Errors as a resource, as FHIR has them."""

    media_type = "application/fhir+json"
    schema: ClassVar = {"type": "object"}

    def response(self, problem: HttpProblem, request: HttpRequest) -> HttpResponse:
        content = {"resourceType": "OperationOutcome", "text": problem.detail, "at": request.path}
        return replace(json_response(content, status=problem.status), media_type=self.media_type)


async def test_errors_have_another_form_where_a_transaction_names_one():
    house = a_house(replace(SERVED, error_form=Outcomes), error_forms=(Outcomes(),))

    response = await house.ask("conflict")

    assert response.status_code == 409
    assert response.headers["content-type"] == "application/fhir+json"
    assert response.json() == {
        "resourceType": "OperationOutcome",
        "text": "that contradicts",
        "at": "/words",
    }


async def test_a_stranger_is_told_in_that_form_too():
    house = a_house(replace(SERVED, error_form=Outcomes), error_forms=(Outcomes(),))

    async with house.client("192.0.2.9") as http:
        response = await http.post("/words", json={"word": "hello"})

    assert response.status_code == 403
    assert "XDSI_RIGHTS__ASK" in response.json()["text"]


class Badge:
    """Users are named by a header of another kind; who shows none is asked for it."""

    name = "badge"
    description: ClassVar = {"type": "apiKey", "in": "header", "name": "badge"}
    invites = True

    def token(self, request: HttpRequest) -> str | None:
        return request.headers.get("badge")

    def refusal(self, fault: SecurityFault, request: HttpRequest) -> HttpProblem:
        return Unauthorized("show your badge")


async def test_users_are_named_by_another_scheme_where_a_transaction_names_one():
    served = replace(SERVED, speaker=Speaker.USER, scheme=Badge)
    house = a_house(served, schemes=(Badge(),), xua="required")
    assertion = bearer(assertion_for("dr.north", audience=f"{URL}/words"))

    someone = await house.ask(badge=assertion)
    by_the_other = await house.ask(authorization=f"Bearer {assertion}")

    assert (someone.status_code, someone.json()["user"]) == (200, "dr.north")
    assert (by_the_other.status_code, told(by_the_other)) == (401, "show your badge")


async def test_a_scheme_that_invites_records_who_claims_something_and_not_who_claims_nothing():
    served = replace(SERVED, speaker=Speaker.USER, scheme=Badge)
    house = a_house(served, schemes=(Badge(),), xua="required")

    nobody = await house.ask()
    before = list(house.trail.outcomes)
    wrong = await house.ask(badge="nonsense")
    async with house.client("192.0.2.9") as http:
        stranger = await http.post("/words", json={"word": "hello"})

    assert [one.status_code for one in (nobody, wrong, stranger)] == [401, 401, 403]
    assert before == []
    assert [code for code, _ in house.trail.outcomes] == ["110114", "110113"]


async def test_what_needs_no_right_is_for_every_node_and_names_it():
    async def handle(unit: UnitOfWork[None], _: Question) -> dict[str, str]:
        return {"address": unit.caller.node.address}

    house = a_house(replace(SERVED, right=None, handle=handle), xua="required")

    async with house.client("192.0.2.9") as http:
        response = await http.post("/words", json={"word": "hello"})

    assert response.json() == {"address": "192.0.2.9"}


async def test_a_file_is_sent_and_let_go_and_a_file_that_was_cut_is_recorded_as_broken_off(tmp_path: Path):
    path, let_go = tmp_path / "file", []
    path.write_bytes(b"0123456789")

    def encode(_: object) -> HttpResponse:
        pieces = (b"<", FileRange(path, 2, 5), b">")
        return HttpResponse(media_type="text/plain", pieces=pieces, sent=lambda: let_go.append(1))

    house = a_house(replace(SERVED, encode=encode))

    whole = await house.ask()
    path.write_bytes(b"0123")
    with pytest.raises(Exception, match="ends"):
        await house.ask()

    assert whole.content == b"<23456>"
    assert whole.headers["content-length"] == "7"
    assert let_go == [1, 1]
    assert house.trail.outcomes == [("110113", 0), ("110113", 0), ("110113", 8)]


async def test_a_stream_is_sent_as_it_is_made():
    async def stream() -> AsyncIterator[bytes]:
        for number in range(3):
            yield b"%d," % number

    house = a_house(replace(SERVED, encode=lambda _: HttpResponse(media_type="text/csv", stream=stream())))

    assert (await house.ask()).text == "0,1,2,"


async def test_the_body_comes_as_it_arrives_and_the_path_and_the_query_by_their_names():
    async def decode(request: HttpRequest) -> dict[str, object]:
        chunks = [chunk async for chunk in request.chunks()]
        return {"path": dict(request.parameters), "query": dict(request.query), "chunks": len(chunks)}

    async def handle(_: object, request: dict[str, object]) -> dict[str, object]:
        return request

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"

    served = replace(SERVED, routes=("POST /a/{one}/b/{two}",), decode=decode, handle=handle)
    async with a_house(served).client() as http:
        response = await http.post("/a/1/b/2?accept=a%2Bb&accept=c+d", content=body())

    assert response.json() == {
        "path": {"one": "1", "two": "2"},
        "query": {"accept": ["a+b", "c+d"]},
        "chunks": 3,
    }


def test_the_description_is_made_of_what_is_served():
    described = openapi("tests", [SERVED])

    operation = described["paths"]["/words"]["post"]
    assert operation["summary"] == "Words [T-1]"
    assert operation["description"] == "Answer the question."
    assert operation["x-right"] == "ask"
    schema = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert described["components"]["schemas"][schema]["properties"]["word"]["type"] == "string"
    assert json.loads(json.dumps(described)) == described


def test_the_description_says_how_users_are_named_and_in_which_form_errors_are_told():
    described = openapi("tests", [replace(SERVED, scheme=Badge, error_form=Outcomes, right=None)])

    operation = described["paths"]["/words"]["post"]
    assert operation["security"] == [{"node": []}, {"node": [], "badge": []}]
    assert described["components"]["securitySchemes"]["badge"] == Badge.description
    assert list(operation["responses"]["default"]["content"]) == ["application/fhir+json"]
    assert "x-right" not in operation
