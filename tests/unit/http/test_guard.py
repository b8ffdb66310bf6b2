"""Every request names a host that is ours, and comes from no other site."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http.guard import Guard
from shared.http.raw_asgi import send_body
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from tests.support.certificates import communities

NORTH, _ = communities()
HERE = ("127.0.0.1", 8010)
JSON = {"content-type": "application/json"}


async def ask(
    guard_of: ServiceSettings,
    method: str = "GET",
    *,
    server: tuple[str, int] = HERE,
    scheme: str = "http",
    length: int = 0,
    **headers: str,
) -> int:
    """The status of one request; 200 when the application was reached."""
    statuses = []

    async def application(scope, receive, send):
        statuses.append(200)

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif message["type"] == "http.response.body":
            told = json.loads(message["body"])
            assert told["status"] == statuses[0]
            assert told["detail"]

    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if length:
        named["content-length"] = str(length)
    scope = {
        "type": "http",
        "method": method,
        "path": "/",
        "scheme": scheme,
        "server": server,
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
    }
    await Guard(application, guard_of, guard_of.host)(scope, None, send)  # type: ignore[arg-type]
    (status,) = statuses
    return status


def with_tls(**changes) -> ServiceSettings:
    return ServiceSettings(host="0.0.0.0", tls=TlsSettings(**NORTH.settings()["tls"]), **changes)


# --- the host ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8010", "127.0.0.1", "localhost:8010", "LOCALHOST", "[::1]:8010", "localhost:9999"]
)
async def test_on_this_machine_its_own_names_are_taken_at_any_port(host):
    assert await ask(ServiceSettings(), host=host) == 200


FOREIGN = [
    "rebound.example:8010",
    "localhost.evil.example",
    "127.0.0.1.evil.example:8010",
    "192.0.2.7",
    "evil@127.0.0.1",
    "127.0.0.1:8010@evil.example",
    "[::1",
    "",
    "0x7f000001",
    "localhost/",
]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "PUT"])
@pytest.mark.parametrize("host", FOREIGN)
async def test_another_host_is_refused_whatever_is_asked(host, method):
    assert await ask(ServiceSettings(), method, host=host) == 421
    assert await ask(with_tls(), method, host=host, scheme="https") == 421


@given(
    host=st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z0-9-]{1,10}){1,3}", fullmatch=True), port=st.integers(1, 65535)
)
async def test_no_name_but_ours_is_taken(host, port):
    ours = host.startswith("127.") and host.count(".") == 3 and host.replace(".", "").isdigit()
    if not ours:
        assert await ask(ServiceSettings(), host=f"{host}:{port}") == 421


@pytest.mark.parametrize(
    ("settings", "server", "host"),
    [
        (ServiceSettings(public_url="https://hie.example/xds"), HERE, "hie.example"),
        (ServiceSettings(public_url="https://hie.example:8443"), HERE, "HIE.example:8443"),
        (ServiceSettings(host_names=("balancer.example", "192.0.2.80")), HERE, "balancer.example:80"),
        (ServiceSettings(host_names=("balancer.example", "192.0.2.80")), HERE, "192.0.2.80"),
        # The address by which a probe reaches a service that listens everywhere.
        (with_tls(), ("192.0.2.5", 8010), "192.0.2.5:8010"),
        (with_tls(), ("2001:db8::5", 8010), "[2001:db8::5]:8010"),
        (with_tls(), HERE, "localhost:8010"),
        # The names in the node's certificate.
        (with_tls(), ("192.0.2.5", 8010), "localhost"),
    ],
)
async def test_configured_names_those_of_the_certificate_and_the_address_of_the_socket_are_ours(
    settings, server, host
):
    assert await ask(settings, server=server, host=host) == 200


async def test_a_probe_that_speaks_http_1_0_need_not_name_a_host():
    assert await ask(ServiceSettings()) == 200


# --- the site -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost:3000",
        "http://127.0.0.1:8011",
        "https://localhost:8010",
    ],
)
async def test_a_page_of_another_site_is_refused(method, origin):
    assert await ask(ServiceSettings(), method, host="localhost:8010", origin=origin, **JSON) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_may_link_here_and_nothing_more(site):
    async def asked(method: str, mode: str) -> int:
        headers = {"host": "localhost:8010", "sec_fetch_site": site, "sec_fetch_mode": mode}
        return await ask(ServiceSettings(), method, **headers)

    assert await asked("GET", "navigate") == 200
    assert await asked("GET", "no-cors") == 403
    assert await asked("POST", "navigate") == 403


async def test_our_own_pages_and_sites_that_are_named_may_ask():
    own = {"host": "localhost:8010", "sec_fetch_site": "same-origin"}
    named = ServiceSettings(trusted_origins=("https://viewer.example",))

    assert await ask(ServiceSettings(), "POST", origin="http://localhost:8010", **own) == 200
    assert await ask(named, "POST", host="localhost:8010", origin="https://viewer.example") == 200
    assert await ask(named, "POST", host="localhost:8010", origin="https://viewer.example.evil") == 403
    public = ServiceSettings(public_url="https://hie.example/xds")
    assert await ask(public, "POST", host="hie.example", origin="https://hie.example") == 200


@pytest.mark.parametrize("origin", ["viewer.example", "https://viewer.example/path", "*", "null", ""])
def test_an_origin_that_is_none_is_told_at_the_start(origin):
    with pytest.raises(SettingsError, match="XDSI_TRUSTED_ORIGINS"):
        ServiceSettings.load(None, {}, trusted_origins=(origin,))


# --- who is told ----------------------------------------------------------------------------------------


class WithPages:
    """An application that is not to be reached, with a page."""

    async def __call__(self, scope, receive, send):
        raise AssertionError("reached")

    async def turn_away(self, problem, scope, receive, send):
        await send_body(send, status=problem.status, headers=[], body=f"<p>{problem.detail}".encode())


async def told(application, **headers: str) -> bytes:
    """The body of a refusal."""
    bodies = []

    async def send(message):
        bodies.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "server": HERE,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    await Guard(application, ServiceSettings(), "127.0.0.1")(scope, None, send)  # type: ignore[arg-type]
    return b"".join(bodies)


@pytest.mark.parametrize("headers", [{"host": "rebound.example"}, {"origin": "https://evil.example"}])
async def test_a_person_is_told_in_a_page_and_a_program_by_a_problem(headers):
    assert (await told(WithPages(), accept="text/html,*/*;q=0.8", **headers)).startswith(b"<p>")
    for accept in ("*/*", "application/json", "text/html, application/json"):
        assert json.loads(await told(WithPages(), accept=accept, **headers))["detail"]


async def test_where_there_are_no_pages_a_person_is_told_by_a_problem_too():
    async def without_pages(scope, receive, send):
        raise AssertionError("reached")

    assert json.loads(await told(without_pages, accept="text/html", host="rebound.example"))["detail"]
