"""Over everything that is served: who may not is refused, told what would let it in, and recorded.

A stranger, a node of a trusted community that nobody named, a node that is named for other rights; and
without TLS a foreign Host, a foreign site, and bodies that any site may send.
"""

from __future__ import annotations

import asyncio
import html
import re
import ssl
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from audit_repository.store.events import Search
from consumer.store import ohif
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.security.peer_certificate import fingerprint_of
from shared.security.rights import DOORS, Right
from shared.soap.envelope import encode_request
from tests.support.certificates import assertion_for, communities, stranger
from tests.support.every_door import OF_PAGES, OF_REGISTRY, SERVICES, House, Visit, a_house
from xdsi.documents import served_rest
from xdsi.services import Service

pytestmark = [pytest.mark.heavy]

NORTH, SOUTH = communities()
TRUST = NORTH.settings(SOUTH)
THEIRS = fingerprint_of(SOUTH.node.certificate)
#: What is served over REST, by method and path with ids filled in.
RIGHTS = {
    re.sub(r"\{[^}]*\}", "1", route): served.right
    for service in Service
    for served in served_rest(service)
    for route in served.routes
}
#: Open to every node that TLS let in: probes, and what says that it needs no right.
OPEN = {"GET /health/live", "GET /health/ready", "GET /metrics"}
OPEN |= {route for route, right in RIGHTS.items() if right is None}


def right_of(door: str) -> Right:
    """The right that a door needs, by the name under which it was tried."""
    number = door.partition(" ")[0]
    if number in DOORS:
        return DOORS[number]
    return RIGHTS[door]


async def visited(folder: Path, **changes) -> dict[str, str]:
    async with a_house(folder, TRUST, **changes) as house:
        answers = await Visit(house, SOUTH).tried()
    return {door: answer for door, answer in answers.items() if door not in OPEN}


async def test_a_node_of_a_trusted_community_that_nobody_named_finds_every_door_closed_and_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    reporters = set()
    record = AuditRecorder.record

    async def seen(self: AuditRecorder, events: Sequence[AuditEvent]) -> None:
        await record(self, events)
        reporters.update(self.source.source_id for event in events if event.event_id.code == "110113")

    monkeypatch.setattr(AuditRecorder, "record", seen)

    async with a_house(tmp_path, TRUST) as house:
        answers = await Visit(house, SOUTH).tried()
        told = await house.services["audit repository"].trail.search(Search(type="110126"))
    answers = {door: answer for door, answer in answers.items() if door not in OPEN}

    assert len(told) == 1
    assert len(reporters) == len(SERVICES) - 1

    assert [door for door, answer in answers.items() if not answer] == []
    untold = [door for door, answer in answers.items() if right_of(door).setting not in answer]
    assert untold == []
    assert {right_of(door) for door in answers} == set(Right) - {Right.REJECT}


@pytest.mark.parametrize("first", [True, False], ids=["half of them", "the other half"])
async def test_a_node_has_the_rights_for_which_it_is_named_and_no_other(tmp_path: Path, first: bool):
    half = [right for number, right in enumerate(Right) if (number % 2 == 0) is first]
    changes = {"rights": {right.value: (THEIRS,) for right in half if right is not Right.CROSS}}
    if Right.CROSS in half:
        changes["community_gateways"] = {"urn:oid:2.999.72": THEIRS}

    answers = await visited(tmp_path, **changes)

    refused = {door for door, answer in answers.items() if answer}
    wanted = {door for door in answers if right_of(door) not in half}
    # Whoever may ask for anything by DIMSE is echoed.
    wanted -= {"C-ECHO"} if {Right.STORE, Right.ASK}.intersection(half) else set()
    # A gateway of another community asks at its own side alone.
    own_side = {door for door in answers if door.endswith("/xca/initiating") and Right.CROSS in half}
    assert refused == wanted | own_side


async def test_our_own_node_finds_every_door_open(tmp_path: Path):
    async with a_house(tmp_path, TRUST) as house:
        answers = await Visit(house, NORTH).tried()

    assert {door for door, answer in answers.items() if answer} == set()


async def test_a_stranger_does_not_get_a_word_out_of_any_listener(tmp_path: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(stranger().node.certificate, stranger().node.key)
    said = {}
    async with a_house(tmp_path, TRUST) as house:
        for name, port in house.listeners.items():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
                writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
                said[name] = await reader.read(1)
                writer.close()
            except (ssl.SSLError, ConnectionError):
                said[name] = b""

    assert said == dict.fromkeys(said, b"")
    assert len(said) == 12


# --- without TLS ----------------------------------------------------------------------------------------

#: What a browser takes when a person follows a link or sends a form.
OF_A_BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FOREIGN = {
    "a foreign Host": ({"host": "rebound.example:8010"}, 421),
    "a Host that begins like ours": ({"host": "127.0.0.1.evil.example"}, 421),
    "a foreign Origin": ({"origin": "https://evil.example"}, 403),
    "an Origin on another port": ({"origin": "http://127.0.0.1:3000"}, 403),
    "an Origin that is none": ({"origin": "null"}, 403),
    "a picture on a page of another site": (
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        403,
    ),
}
#: What a page can send without asking first, and each application judges by itself.
SENT_UNASKED = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", None)


async def asked(
    http: httpx2.AsyncClient, house: House, case: str, service: str, method: str, path: str
) -> int:
    """The status of a refusal; none that a person can read where they ask for a page is nothing."""
    headers, _ = FOREIGN[case]
    content = b"{}" if method != "GET" else None
    kind = {"content-type": "application/json"} if content else {}
    answer = await http.request(method, house.url(service, path), headers=kind | headers, content=content)
    if f"{method} {path}" in OF_PAGES.get(service, ()):
        seen = await http.request(
            method, house.url(service, path), headers=kind | headers | OF_A_BROWSER, content=content
        )
        return answer.status_code if is_a_page_about(answer, seen) else 0
    return answer.status_code


def is_a_page_about(told: httpx2.Response, seen: httpx2.Response) -> bool:
    """Whether a person sees in a page what a program is told, and the page is for nobody."""
    reason = told.json()["detail"]
    return (
        (seen.status_code, seen.headers["content-type"]) == (told.status_code, "text/html; charset=utf-8")
        and reason[1:] in html.unescape(seen.text)
        and "set-cookie" not in seen.headers
        and "content-security-policy" in seen.headers
        and told.headers["content-type"] == "application/problem+json"
    )


async def test_without_tls_no_other_site_reaches_anything_that_is_served(tmp_path: Path):
    wrong = {}
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        routes = list(house.routes())
        for case, (_, wanted) in FOREIGN.items():
            statuses = await asyncio.gather(*(asked(http, house, case, *route) for route in routes))
            wrong |= {
                (case, *route): status
                for route, status in zip(routes, statuses, strict=True)
                if status != wanted
            }
        own = {
            path: (await http.get(house.url(service, path), headers={"host": "localhost"})).status_code
            for service, method, path in routes
            if path.startswith("/health/live")
        }

    assert wrong == {}
    assert len(routes) > 40
    assert own == {"/health/live": 200}


async def test_without_tls_nothing_is_done_by_a_body_of_a_type_that_any_page_may_send(tmp_path: Path):
    done = {}
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for service, method, path in house.routes():
            if method != "GET":
                for kind in SENT_UNASKED:
                    answer = await http.request(
                        method,
                        house.url(service, path),
                        content=b"{}",
                        headers={"content-type": kind} if kind else {},
                    )
                    if answer.status_code < 400:
                        done[service, path, kind] = answer.status_code

    assert done == {}


async def test_audience_and_description_say_where_the_socket_is_whatever_host_a_request_names(tmp_path: Path):
    async with a_house(tmp_path) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        for service, path in (("registry", "/xds/registry"), ("gateway", "/xca/responding")):
            port = house.ports[service]
            for host in (f"localhost:{port}", "localhost:9", f"127.0.0.1:{port}"):
                described = await http.get(house.url(service, f"{path}?wsdl"), headers={"host": host})
                assert described.status_code == 200
                assert f'location="http://127.0.0.1:{port}{path}"' in described.text


async def test_no_host_makes_an_assertion_one_for_us(tmp_path: Path):
    """Its audience is where the socket is; what the request calls us, by a name of ours too, is nothing."""
    trust = {"assertion": TRUST["assertion"], "patients": "any"}
    served = next(one for one in OF_REGISTRY if one.transaction.number == "ITI-18")
    async with a_house(tmp_path, **trust) as house, httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        port = house.ports["registry"]
        url = house.url("registry", "/xds/registry")
        answers = {}
        for named in (f"127.0.0.1:{port}", f"localhost:{port}"):
            assertion = assertion_for("dr.north", audience=f"http://{named}/xds/registry")
            message = encode_request(
                served.transaction.action, "urn:uuid:1", url, an_empty_query(), assertion
            )
            headers = {"content-type": "application/soap+xml", "host": named}
            answer = await http.post(url, content=message, headers=headers)
            answers[named.partition(":")[0]] = "InvalidSecurityToken" in answer.text

    assert answers == {"127.0.0.1": False, "localhost": True}


def an_empty_query() -> bytes:
    return b'<AdhocQueryRequest xmlns="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"/>'


def test_what_needs_no_right_is_the_way_in_or_a_description():
    assert {route for route, right in RIGHTS.items() if right is None} == {
        "GET /.well-known/oauth-authorization-server",
        "GET /.well-known/openid-configuration",
        "GET /fhir/metadata",
        "GET /follow.js",
        "GET /guide.js",
        "GET /jwks",
        "GET /passkey.js",
        "GET /ohif.js",
        f"GET {ohif.BASE}1",
        "GET /sign-in",
        "GET /sign-in/begin",
        "GET /style.css",
        "GET /viewer/1",
        "POST /sign-out",
    }
