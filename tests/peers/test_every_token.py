"""Over everything that is served: a token or an assertion that nobody may take opens no door, and one that
holds opens each (ITI-40, ITI-72)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.audit.refusals import Refusals
from shared.faults import SecurityFault
from shared.rest.scheme import Bearer
from shared.rest.served import ServedRest
from shared.security.authenticator import Authenticator
from shared.security.caller import Node
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from tests.peers.test_every_rest_transaction import filled
from tests.support.bad_tokens import BAD_TOKENS
from tests.support.certificates import communities
from tests.support.envelopes import envelope
from tests.support.every_door import SOAP, a_house
from tests.support.proofs import a_key, a_proof, wrong_proofs
from tests.support.tokens import OTHER_ISSUER, a_token, trusted_issuers
from tests.unit.security.test_xua_attacks import CASES, GENUINE, NOW, WRAPPINGS
from xdsi.documents import served_rest
from xdsi.services import Service
from xdsi.stage import free_ports

pytestmark = [pytest.mark.heavy]

NORTH = communities()[0]
HEADER = re.compile(rb"<soap:Header>(.*)</soap:Header>", re.DOTALL)
#: Security headers that nobody may take, by what is wrong with each: of the cases what lies in the header
#: alone. One for somebody else is none.
BAD_HEADERS = {
    name: found[1]
    for name, message in (WRAPPINGS | {name: message for name, (_, message) in CASES.items()}).items()
    if (found := HEADER.search(message)) and message == envelope(found[1]) and "somebody else" not in name
}
#: So many of them are tried at each door in a short run, others at the next one.
FEW = 3


def trust(folder: Path) -> dict[str, Any]:
    given = NORTH.settings()["assertion"]
    voices = {OTHER_ISSUER: {"communities": ["urn:oid:2.999.72"], "organizations": ["urn:oid:2.999.8"]}}
    return {
        "assertion": given | {"speaks_for": voices | dict(given.get("speaks_for", {}))},
        "token": {"issuers": trusted_issuers(folder)},
    }


def resources() -> Iterator[tuple[str, ServedRest[Any, Any], str, str]]:
    """Service, transaction, method and path of every route to which a token may come."""
    for service in Service:
        for served in served_rest(service):
            if served.scheme is Bearer and served.right is not None:
                for route in served.routes:
                    method, _, path = route.partition(" ")
                    yield service.value.replace("-", " "), served, method, filled(path, "")


def some(cases: Mapping[str, Any], door: int, long: bool) -> list[tuple[str, Any]]:
    """Which cases are tried at a door: all of them at one or another, and all at each with `long`."""
    listed = list(cases.items())
    return listed if long else [listed[(door * FEW + each) % len(listed)] for each in range(FEW)]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The doors at which users were refused, as they are recorded."""
    doors: list[str] = []
    user = Refusals.user

    async def seen(self: Refusals, fault: SecurityFault, node: Node, *, transaction: str = "") -> None:
        doors.append(transaction)
        await user(self, fault, node, transaction=transaction)

    monkeypatch.setattr(Refusals, "user", seen)
    return doors


async def test_no_resource_takes_a_token_that_nobody_may_take(tmp_path: Path, long: bool, refused: list[str]):
    wrong, tried = {}, set()
    async with (
        a_house(tmp_path, **trust(tmp_path)) as house,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        for number, (service, _, method, path) in enumerate(resources()):
            for name, made in some(BAD_TOKENS, number, long):
                tried.add(name)
                refused.clear()
                answer = await http.request(
                    method, house.url(service, path), headers={"authorization": f"Bearer {made()}"}
                )
                challenge = answer.headers.get("www-authenticate", "")
                if (
                    answer.status_code != 401
                    or 'error="invalid_token"' not in challenge
                    or f'resource_metadata="{house.url(service)}/.well-known/' not in challenge
                    or len(refused) != 1
                ):
                    wrong[service, method, path, name] = (answer.status_code, challenge, list(refused))

    assert wrong == {}
    assert tried == set(BAD_TOKENS)


async def test_every_resource_takes_a_token_that_holds_and_is_for_it(tmp_path: Path, refused: list[str]):
    """For one that is for something else a resource names the scope that would do."""
    wrong = {}
    async with (
        a_house(tmp_path, **trust(tmp_path)) as house,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        for service, served, method, path in resources():
            url, scope = house.url(service, path), served.needed.name
            for token, let_in in ((a_token(scope=scope), True), (a_token(scope="ITI-1 openid"), False)):
                answer = await http.request(method, url, headers={"authorization": f"Bearer {token}"})
                # Whoever is no patient is refused the own log by what that asks, with a problem of its own.
                if (answer.status_code not in (401, 403)) is not let_in and "/own/" not in path:
                    wrong[method, path, let_in] = answer.status_code
                if not let_in and f'scope="{scope}"' not in answer.headers.get("www-authenticate", ""):
                    wrong[method, path, let_in] = dict(answer.headers)
        told = {
            service: (await http.get(house.url(service, "/.well-known/oauth-protected-resource"))).json()
            for service, *_ in resources()
        }
        assert {service: one["resource"] for service, one in told.items()} == {
            service: house.url(service) for service in told
        }

    assert wrong == {}
    assert told["imaging source"]["authorization_servers"][0] == "https://login.example"
    assert told["imaging source"]["scopes_supported"] == ["RAD-107", "RAD-108", "RAD-129", "RAD-55", "xdsi"]


async def test_a_token_that_is_bound_to_a_key_opens_every_resource_with_a_proof_and_none_without(
    tmp_path: Path, long: bool
):
    wrong, tried = {}, set()
    bound = {"cnf": {"jkt": a_key().thumbprint()}}
    # The registry is asked by the others which proofs were used.
    [port] = free_ports(1)
    at = {"registry": {"port": port}, "registry_url": f"http://127.0.0.1:{port}/xds/registry"}
    async with (
        a_house(tmp_path, **trust(tmp_path), **at) as house,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        for number, (service, served, method, path) in enumerate(resources()):
            url, token = house.url(service, path), a_token(scope=served.needed.name, **bound)
            proof = a_proof(method, url, token)
            own = {"authorization": f"DPoP {token}", "dpop": proof}
            answers = {
                "as a bearer token": await http.request(
                    method, url, headers={"authorization": f"Bearer {token}", "dpop": proof}
                ),
                "with its proof": await http.request(method, url, headers=own),
                "with the same proof": await http.request(method, url, headers=own),
                "that is bound to none": await http.request(
                    method,
                    url,
                    headers={
                        "authorization": f"DPoP {(loose := a_token(scope=served.needed.name))}",
                        "dpop": a_proof(method, url, loose),
                    },
                ),
            }
            for name, each in some(wrong_proofs(method, url, token), number, long):
                tried.add(name)
                answers[name] = await http.request(
                    method, url, headers={"authorization": f"DPoP {token}", "dpop": each}
                )
            for name, answer in answers.items():
                challenge = answer.headers.get("www-authenticate", "")
                # Whoever is no patient is refused the own log by what that asks, with a problem of its own.
                let_in = answer.status_code not in (401, 403) or "/own/" in path
                scheme = "Bearer " if name == "as a bearer token" else "DPoP "
                refused_rightly = answer.status_code == 401 and challenge.startswith(scheme)
                if not (let_in if name == "with its proof" else refused_rightly):
                    wrong[method, path, name] = (answer.status_code, challenge)

    assert wrong == {}
    assert tried == set(wrong_proofs("GET", "https://a.example/", ""))


async def test_no_transaction_takes_an_assertion_that_nobody_may_take(
    tmp_path: Path, long: bool, refused: list[str], monkeypatch: pytest.MonkeyPatch
):
    # The assertions were made when this module was read, minutes ago in a long run: none may be old.
    monkeypatch.setitem(Authenticator.__init__.__kwdefaults__, "clock", lambda: NOW)
    wrong, tried, number = {}, set(), 0
    async with (
        a_house(tmp_path, **trust(tmp_path)) as house,
        httpx2.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        for service, path, all_served in SOAP:
            for served in all_served:
                transaction, url, number = served.transaction, house.url(service, path), number + 1
                namespace, _, root = transaction.body_root[1:].partition("}")
                body = f'<{root} xmlns="{namespace}"/>'.encode()
                plain = encode_request(transaction.action, "urn:uuid:1", url, body)
                good = encode_request(transaction.action, "urn:uuid:1", url, body, GENUINE)
                cases = {
                    name: plain.replace(b"</soap:Header>", header + b"</soap:Header>")
                    for name, header in BAD_HEADERS.items()
                }
                for name, message in [*some(cases, number, long), ("genuine", good)]:
                    tried.add(name)
                    refused.clear()
                    kind, content = "application/soap+xml; charset=UTF-8", message
                    if transaction.mtom:
                        kind, pieces = write_package(message, ())
                        content = b"".join(pieces)  # type: ignore[arg-type]
                    answer = await http.post(url, content=content, headers={"content-type": kind})
                    is_refused = "The security token could not be accepted." in answer.text
                    if is_refused is (name == "genuine") or len(refused) != (name != "genuine"):
                        wrong[service, transaction.number, name] = (answer.text[:400], list(refused))

    assert wrong == {}
    assert long or len(tried) > min(len(BAD_HEADERS), 40)
