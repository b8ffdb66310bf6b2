"""Over everything that is served over REST, pages among it, wherever it is served: nonsense is answered with
a problem in the form of the transaction, what is asked is recorded within the bounds of a record and counted,
and the description names it.

Who may not is refused and recorded everywhere: `test_every_door`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

import audit_repository.app
from audit_repository.unit import Unit
from identity.transactions.oauth import OAuthError
from shared.audit.bounds import MAX_RECORD
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.pages.forms import FormBody
from shared.pages.page import ErrorPage
from shared.pages.provider import RETURN_PATH
from shared.rest.error_form import ProblemDetails
from shared.rest.fhir import OperationOutcome
from shared.rest.message import JsonBody
from shared.rest.served import ServedRest, unrecorded
from tests.support.certificates import assertion_for, communities
from tests.support.consents import a_consent, octets
from tests.support.every_door import House, a_house, form_for
from tests.support.metadata import PATIENT
from xdsi.documents import PAGES, served_rest
from xdsi.services import Service

pytestmark = [pytest.mark.heavy]

THEN = "2030-01-01T00:00:00Z"
#: What is sent for a member of a body by its name, and for any other.
MEMBERS = {"patient_id": PATIENT, "key": "0" * 64, "since": THEN, "until": THEN, "effect": "deny"}
MEMBERS["password"] = "correct horse battery"
#: What stands in a path for a parameter that takes no UID.
PARAMETERS = {"sequence": "1", "frames": "1", "bulk:path": "7FE00010"}
#: What is asked where the address, or a form, holds parameters that are needed.
QUESTIONS = {
    "AuditEvent": "date=2030",
    "syslogsearch": "date=2030",
    "_search": "date=2030",
    "introspect": "token=a.b.c",
    "token": "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token=a.b.c"
    "&subject_token_type=urn:ietf:params:oauth:token-type:id_token",
    "wado": "requestType=WADO&studyUID=2.25.1&seriesUID=2.25.2&objectUID=2.25.3",
}
#: Bodies that are resources.
BODIES = {
    "ITI-108": octets(a_consent()),
    "Keep consent document": octets({"format_code": "urn:ihe:iti:bppc:2007", "document": "PGEvPg=="}),
}
FORM = "application/x-www-form-urlencoded"
TEXT = "2.25.1"
NONSENSE = b'{"nonsense": '

OUT = ("identity", "/sign-out")

Route = tuple[str, ServedRest[Any, Any], str, str]


def everything() -> Iterator[Route]:
    """Service, transaction, method and path of every route."""
    for service in Service:
        for served in served_rest(service):
            for route in served.routes:
                method, _, path = route.partition(" ")
                yield service.value.replace("-", " "), served, method, path


def body_of(served: ServedRest[Any, Any]) -> bytes:
    """A body that can be read, of members that are needed."""
    if (name := served.number or served.name) in BODIES:
        return BODIES[name]
    if not isinstance(served.decode, JsonBody):
        return b""
    fields = served.decode.kind.model_fields
    needed = {name: False if field.annotation is bool else TEXT for name, field in fields.items()}
    needed = {name: value for name, value in needed.items() if fields[name].is_required()}
    extra = {"effect"} if served.decode.kind.model_config.get("extra") == "allow" else set()
    return json.dumps(
        needed | {name: MEMBERS[name] for name in MEMBERS if name in needed.keys() | extra}
    ).encode()


def filled(path: str, value: str) -> str:
    """The path with every parameter filled in, by `value` or as it can be read."""
    return re.sub(r"\{([^}]*)\}", lambda found: value or PARAMETERS.get(found[1], TEXT), path)


async def sent(
    http: httpx2.AsyncClient, house: House, route: Route, body: bytes, value: str = ""
) -> httpx2.Response:
    service, _, method, path = route
    headers = {"content-type": "application/json"} if body else {}
    return await http.request(
        method, house.url(service, filled(path, value)), content=body or None, headers=headers
    )


def told(served: ServedRest[Any, Any], answer: httpx2.Response) -> bool:
    """Whether an answer says, in the form of the transaction, what is wrong."""
    if answer.headers.get("content-type") != served.error_form.media_type:
        return False
    if served.error_form is ProblemDetails:
        problem = answer.json()
        return problem["status"] == answer.status_code and bool(problem["detail"])
    if served.error_form is OperationOutcome:
        return bool(answer.json()["issue"][0]["diagnostics"])
    if served.error_form is OAuthError:
        return bool(answer.json()["error"]) and bool(answer.json()["error_description"])
    return served.error_form is ErrorPage and "<h1>" in answer.text


async def test_who_goes_astray_with_a_browser_is_told_by_a_page_where_a_service_has_pages(tmp_path: Path):
    with_pages = {service for service, served, *_ in everything() if served.error_form is ErrorPage}
    services = {service for service, *_ in everything()}
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    assert with_pages
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for service in sorted(services):
            for method, path, status in (("GET", "/nowhere", 404), ("DELETE", "/health/live", 405)):
                url = house.url(service, path)
                page = await http.request(method, url, headers=browser)
                problem = await http.request(method, url, headers={"accept": "application/json"})
                anything = await http.request(method, url)

                assert {page.status_code, problem.status_code, anything.status_code} == {status}, service
                assert ("<h1>" in page.text) == (service in with_pages), service
                assert problem.json()["status"] == anything.json()["status"] == status, service


async def test_nonsense_is_answered_with_a_problem_and_counted(tmp_path: Path):
    wrong, unnamed = {}, []
    # What takes neither a body nor a parameter can be asked no nonsense.
    routes = [route for route in everything() if route[2] != "GET" or "{" in route[3]]
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for route in routes:
            service, served, method, path = route
            body = NONSENSE if method == "POST" else b""
            answer = await sent(http, house, route, body, "no%20sense")
            if not told(served, answer):
                wrong[service, method, path] = answer.text
            if not 400 <= answer.status_code < 500:
                wrong[service, method, path] = answer.status_code
        for service, served, *_ in routes:
            shown = (await http.get(house.url(service, "/metrics"))).text
            name = served.number or served.name
            if not re.search(f'outcome="(fault|failure)",transaction="{name}"}} [1-9]', shown):
                unnamed.append((service, name))

    assert wrong == {}
    assert unnamed == []


@dataclass
class Told:
    """What the services of a house recorded, event by event, with the messages that were made of it."""

    events: list[AuditEvent] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Filled with every event that is recorded from now on, by whichever service of this process."""
    seen = Told()
    of_services, of_the_trail = AuditRecorder.messages, audit_repository.app.messages

    def noted(event: AuditEvent, octets: tuple[bytes, ...]) -> tuple[bytes, ...]:
        seen.events.append(event)
        seen.messages.extend(octets)
        return octets

    monkeypatch.setattr(AuditRecorder, "messages", lambda self, one: noted(one, of_services(self, one)))
    monkeypatch.setattr(
        audit_repository.app, "messages", lambda one, source: noted(one, of_the_trail(one, source))
    )
    return seen


async def asked(http: httpx2.AsyncClient, house: House, route: Route) -> httpx2.Response:
    """The answer to what can be read and is mostly about nothing that is there."""
    service, served, method, path = route
    question = QUESTIONS.get(path.rpartition("/")[2], "")
    if isinstance(served.decode, FormBody):
        http.base_url = httpx2.URL(house.url(service))
        return await http.post(path, **await form_for(http, served, assertion_for("dr.north")))
    if question and method == "POST" and not body_of(served):
        return await http.post(house.url(service, path), content=question, headers={"content-type": FORM})
    whole = f"{path}?{question}" if question else path
    return await sent(http, house, (service, served, method, whole), body_of(served))


async def events_of_each(tmp_path: Path, recorded: Told) -> dict[tuple[str, str, str], list[AuditEvent]]:
    """For every route of a transaction that records: the events of one request."""
    told_of, failed = {}, {}
    trust = {"assertion": communities()[0].settings()["assertion"]}
    async with a_house(tmp_path, **trust) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for route in everything():
            service, served, method, path = route
            before = len(recorded.events)
            answer = await asked(http, house, route)
            if answer.status_code == httpx2.codes.INTERNAL_SERVER_ERROR:
                failed[service, method, path] = answer.text
            # Nobody comes back from a provider where there is none, or by a ticket that was never given; nor
            # goes who could not sign in.
            never = path in (RETURN_PATH, "/launches/{handle}") or (service, path) == OUT
            if served.audit is not unrecorded and not never:
                told_of[service, method, path] = [
                    event for event in recorded.events[before:] if served.event_type in event.event_types
                ]
    assert failed == {}
    return told_of


async def test_each_request_leaves_one_event_of_its_own_within_the_bounds_of_a_record(
    tmp_path: Path, recorded: Told
):
    told_of = await events_of_each(tmp_path, recorded)

    assert {route: len(events) for route, events in told_of.items() if len(events) != 1} == {}
    assert {len(octets) > MAX_RECORD for octets in recorded.messages} == {False}


async def test_an_event_that_is_taken_out_of_any_transaction_is_missed(
    tmp_path: Path, recorded: Told, monkeypatch: pytest.MonkeyPatch
):
    """What the law above says of each transaction holds by its own event alone, and by no other's."""

    async def unused(self: Unit, _: AuditEvent) -> None:
        self.audited = True

    async def uninserted(*_: Any) -> None:
        """Commit a change without its events."""

    for module in [one for one in sys.modules.values() if hasattr(one, "insert_events")]:
        monkeypatch.setattr(module, "insert_events", uninserted)

    loud = {id(one): (one, one.audit) for _, one, *_ in everything() if one.audit is not unrecorded}
    for served, _ in loud.values():
        # Values are frozen, and a mutation is none of their business.
        object.__setattr__(served, "audit", lambda *_: ())
    monkeypatch.setattr(Unit, "used", unused)
    try:
        told_of = await events_of_each(tmp_path, recorded)
    finally:
        for served, audit in loud.values():
            object.__setattr__(served, "audit", audit)

    assert {route: events for route, events in told_of.items() if events} == {}


def test_every_transaction_of_a_number_has_a_record_of_its_own_or_says_why():
    without = {
        served.number for _, served, *_ in everything() if served.number and served.audit is unrecorded
    }

    # What came by RAD-108 is recorded when the transfer is concluded, with what became of each study; what
    # came by ITI-20 is a record itself. ITI-102 tells nothing of
    # whom it was not told of, ITI-103 what everybody is told. RAD-106 tells nothing, and leads to what does.
    assert without == {"ITI-102", "ITI-103", "ITI-20", "RAD-106", "RAD-108"}


def test_the_description_of_each_service_names_what_it_serves():
    for service in Service:
        if served := served_rest(service):
            described = json.loads(PAGES[f"openapi-{service}.json"]())
            routes = {(method.upper(), path) for path, one in described["paths"].items() for method in one}
            listed = {tuple(route.replace(":path", "").split(" ")) for one in served for route in one.routes}
            assert routes == listed
