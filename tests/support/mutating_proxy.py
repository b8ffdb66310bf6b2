"""A proxy before a system that makes it a mutant: what passes is changed by one fault at a time."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import httpx2

from conformance.plans.stand import Target

#: Headers that pass beside Content-Type.
_PASSED = frozenset(
    {"cache-control", "content-security-policy", "location", "set-cookie", "www-authenticate"}
)


@dataclass(frozen=True)
class Answer:
    """What the system answered, on its way."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Fault:
    """What a mutant does wrong: it changes requests, or answers; `plan` are the probes that should tell."""

    name: str
    plan: tuple[str, ...]
    request: Callable[[bytes], bytes] = lambda body: body
    answer: Callable[[Answer], Answer] = lambda answer: answer


def body(pattern: str, replacement: str, *, times: int = 0) -> Callable[[Answer], Answer]:
    """Answers in which `pattern` is replaced."""
    compiled = re.compile(pattern.encode(), re.DOTALL)
    return lambda answer: replace(answer, body=compiled.sub(replacement.encode(), answer.body, count=times))


def sent(pattern: str, replacement: str, *, times: int = 0) -> Callable[[bytes], bytes]:
    """Requests in which `pattern` is replaced."""
    compiled = re.compile(pattern.encode(), re.DOTALL)
    return lambda octets: compiled.sub(replacement.encode(), octets, count=times)


def status(before: int, after: int) -> Callable[[Answer], Answer]:
    """Answers of one HTTP status that come with another."""
    return lambda answer: replace(answer, status=after) if answer.status == before else answer


def content_type(pattern: str, replacement: str) -> Callable[[Answer], Answer]:
    """Answers whose Content-Type is changed."""
    return lambda answer: replace(answer, content_type=re.sub(pattern, replacement, answer.content_type))


def header(name: str, pattern: str, replacement: str) -> Callable[[Answer], Answer]:
    """Answers of which a header is changed."""

    def changed(answer: Answer) -> Answer:
        headers = tuple(
            (key, re.sub(pattern, replacement, value) if key.lower() == name else value)
            for key, value in answer.headers
        )
        return replace(answer, headers=headers)

    return changed


@dataclass
class Proxy:
    """Where it listens, and the fault that is in force."""

    system: Target
    fault: Fault = field(default_factory=lambda: Fault("none", ()))
    port: int = 0

    @property
    def target(self) -> Target:
        """The system, as it is seen through the proxy."""
        through = {
            actor: f"http://127.0.0.1:{self.port}/{actor}{urlsplit(url).path}" if "://" in url else url
            for actor, url in self.system.endpoints.items()
        }
        return replace(self.system, endpoints=through)


@contextmanager
def mutating_proxy(system: Target) -> Iterator[Proxy]:
    """A proxy that listens."""
    proxy = Proxy(system)
    with httpx2.Client(trust_env=False, timeout=30) as client:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy, client))
        proxy.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler(proxy: Proxy, client: httpx2.Client) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave together.
        wbufsize = 1024 * 1024

        def do_POST(self) -> None:
            self._pass(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def do_GET(self) -> None:
            self._pass(b"")

        def _pass(self, octets: bytes) -> None:
            actor, _, rest = self.path.removeprefix("/").partition("/")
            url = urlsplit(proxy.system.endpoints[actor])
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in ("host", "content-length", "connection")
            }
            answer = client.request(
                self.command,
                f"{url.scheme}://{url.netloc}/{rest}",
                content=proxy.fault.request(octets),
                headers=headers,
            )
            others = tuple(one for one in answer.headers.multi_items() if one[0].lower() in _PASSED)
            changed = proxy.fault.answer(
                Answer(answer.status_code, answer.headers.get("content-type", ""), answer.content, others)
            )
            self.send_response(changed.status)
            for name, value in changed.headers:
                self.send_header(name, value)
            self.send_header("Content-Type", changed.content_type)
            self.send_header("Content-Length", str(len(changed.body)))
            self.end_headers()
            self.wfile.write(changed.body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    return Handler
