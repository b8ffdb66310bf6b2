"""The stand: what one probe works with to ask a system, and where everything that passes is kept."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2

from conformance.envelopes import SIMPLE, Envelope, package
from conformance.plans.assertions import Provider
from conformance.plans.message import Reply
from conformance.plans.probe import Exchanged, NotOffered, Unmet

SECONDS = 30.0
#: Bytes of one answer; no answer to a probe is as long.
MOST_BYTES = 64 * 1024**2
_LOOK_SECONDS = 0.1

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The system that is judged.

    Parameters
    ----------
    endpoints
        URL, or host:port, of each actor by its name (`registry`, `repository`, `source`, `dicomweb`, `wado`,
        `feed`, `department`, `initiating`, `responding`, `audit`, `atna`, `trail`, `publisher`, `front`, `pages`); of `dimse` TITLE@host:port.
    domain
        The assigning authority of patient ids.
    home
        The homeCommunityId, where gateways are judged.
    repository_unique_id, retrieve_location_uid
        Of the repository and the imaging source; learnt from what is registered when empty.
    tls
        By which we show a certificate and know the system's; None without TLS.
    assertion
        What is sent as the user's assertion; empty for none.
    entity
        TITLE@host:port of our own application entity, as the system knows it: by this title it is asked, and there
        it sends instances and results.
    study_is_there
        Whether the study of the probes was brought into the system before (`images.the_study`); else they store it.
    patience_seconds
        How long is waited for what the system does in its own time, such as sending a record: who does it at once
        is not kept waiting.
    peers, peers_syslog
        host:port at which a consumer that is judged asks the peers that we play, and the port at which it reports
        to their audit repository.
    peers_host, peers_tls
        The address at which these listen, the host of `peers` when empty; their side of TLS, None without.
    person
        Asks the person at the consumer a question, which is answered by yes or no; None at a terminal.
    provider
        The assertion provider that the system believes, by which assertions are signed; None where users are not
        asked about.
    without
        Options that the system does not claim.
    """

    endpoints: Mapping[str, str] = field(default_factory=dict)
    domain: str = "1.3.6.1.4.1.21367.2005.13.20.1000"
    home: str = ""
    repository_unique_id: str = ""
    retrieve_location_uid: str = ""
    tls: ssl.SSLContext | None = None
    assertion: str = ""
    entity: str = ""
    study_is_there: bool = False
    patience_seconds: float = 20.0
    peers: str = ""
    peers_syslog: str = ""
    peers_host: str = ""
    peers_tls: ssl.SSLContext | None = None
    person: Callable[[str], bool] | None = None
    provider: Provider | None = None
    without: frozenset[str] = frozenset()


class Stand:
    """What the probes of one run share, and the exchanges of the one that runs now.

    `shared` are things made once for all probes that need them, by name; `lasting` ends with the run.
    """

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.shared: dict[str, Any] = {}
        self.lasting = ExitStack()
        self.exchanges: list[Exchanged] = []
        self._probe = "setup"
        self._numbers = count(1)
        self._origins = {
            _origin(httpx2.URL(one))
            for one in target.endpoints.values()
            if one.startswith(("http://", "https://"))
        }
        self._http = httpx2.Client(
            verify=target.tls or True,
            timeout=SECONDS,
            trust_env=False,
            follow_redirects=False,
        )

    def close(self) -> None:
        """End the connections, and what was started for the run."""
        self.lasting.close()
        self._http.close()

    @contextmanager
    def of_probe(self, id: str) -> Iterator[None]:
        """What is exchanged within belongs to the probe `id`."""
        self._probe, self._numbers, self.exchanges = id, count(1), []
        yield

    # --- fresh names -------------------------------------------------------------------------------

    def oid(self) -> str:
        """A UID that nobody has used."""
        return f"2.25.{uuid4().int}"

    def uuid(self) -> str:
        """A UUID that nobody has used, as a URN."""
        return f"urn:uuid:{uuid4()}"

    def patient_id(self, number: str = "") -> str:
        """A patient id of the domain, as CX; a fresh one when no number is given."""
        return f"{number or 'P' + uuid4().hex[:16].upper()}^^^&{self.target.domain}&ISO"

    # --- waiting -----------------------------------------------------------------------------------

    def until(self, look: Callable[[], Seen]) -> Seen | None:
        """What `look` sees as soon as it sees something; None when it does not in time."""
        deadline = time.monotonic() + self.target.patience_seconds
        while not (sight := look()):
            if time.monotonic() > deadline:
                return None
            time.sleep(_LOOK_SECONDS)
        return sight

    # --- asking ------------------------------------------------------------------------------------

    def endpoint(self, actor: str) -> str:
        """Where an actor is; raises `NotOffered` when its address was not given."""
        if not (url := self.target.endpoints.get(actor)):
            raise NotOffered(f"no address of {actor} was given (--target {actor}=…)")
        return url

    def soap(
        self,
        actor: str,
        envelope: Envelope,
        *,
        parts: Mapping[str, bytes] | None = None,
        content_type: str = "",
    ) -> Reply:
        """Send a message, MTOM when there are `parts`, if only none; return the answer."""
        url = self.endpoint(actor)
        message = replace(envelope, to=url, security=envelope.security or self.target.assertion)
        if parts is None:
            return self.post(url, message.xml(), content_type or SIMPLE, message_id=message.message_id)
        package_type, body = package(message.xml(), parts, action=message.action.strip())
        return self.post(url, body, content_type or package_type, message_id=message.message_id)

    def post(self, url: str, body: bytes, content_type: str, *, message_id: str = "") -> Reply:
        """POST `body` as it is."""
        reply = self.http("POST", url, body=body, headers={"Content-Type": content_type})
        return replace(reply, message_id=message_id)

    def http(
        self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One HTTP exchange, kept as files; it goes to no other host than one of the target's."""
        try:
            request = self._http.build_request(method, url, content=body, headers=dict(headers or {}))
        except httpx2.InvalidURL:
            raise Unmet("an address of the system is none") from None
        self._check(request.url)
        answer, content = None, b""
        try:
            answer = self._http.send(request, stream=True)
            content = _content(answer)
        except httpx2.HTTPError as error:
            self._kept(request, None, b"")
            raise Unreached(f"{url}: {str(error) or type(error).__name__}") from None
        finally:
            if answer is not None:
                answer.close()
        self._kept(request, answer, content)
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Reply(answer.status_code, headers, content)

    def _check(self, url: httpx2.URL) -> None:
        """What comes from a system leads nowhere that was not named."""
        if _origin(url) not in self._origins:
            raise Unmet(f"an address leads to {url.host}, which is none of the system's")

    def _kept(self, request: httpx2.Request, answer: httpx2.Response | None, content: bytes) -> None:
        path = urlsplit(str(request.url))
        target = path.path + (f"?{path.query}" if path.query else "")
        head = [f"{request.method} {target} HTTP/1.1", *map(": ".join, request.headers.items())]
        message = "\r\n".join((*head, "", "")).encode() + request.read()
        received = b""
        if answer is not None:
            lines = [
                f"HTTP/1.1 {answer.status_code} {answer.reason_phrase}",
                *map(": ".join, answer.headers.items()),
            ]
            received = "\r\n".join((*lines, "", "")).encode("latin-1", "replace") + content
        self.keep(f"{request.method} {request.url}", message, received)

    def keep(self, title: str, message: bytes, received: bytes) -> None:
        """Keep what was sent and what came."""
        number = next(self._numbers)
        folder = self.folder / self._probe
        folder.mkdir(parents=True, exist_ok=True)
        names = [f"{self._probe}/{number:02}-{what}.bin" for what in ("request", "answer")]
        for name, octets in zip(names, (message, received), strict=True):
            (self.folder / name).write_bytes(octets)
        self.exchanges.append(Exchanged(title, *names))

    def mllp(self, actor: str, message: str) -> str:
        """Send an HL7 v2 message in its frame; the acknowledgement without it."""
        host, _, port = self.endpoint(actor).removeprefix("mllp://").rpartition(":")
        frame = b"\x0b" + message.encode() + b"\x1c\r"
        received = b""
        try:
            with socket.create_connection((host, int(port)), timeout=SECONDS) as plain:
                connection = (
                    self.target.tls.wrap_socket(plain, server_hostname=host) if self.target.tls else plain
                )
                connection.sendall(frame)
                while not received.endswith(b"\x1c\r"):
                    if not (octets := connection.recv(65536)):
                        raise Unmet("the connection ended without an acknowledgement")
                    received += octets
        except OSError as error:
            raise Unreached(f"{host}:{port}: {error}") from None
        finally:
            self.keep(f"MLLP {host}:{port}", frame, received)
        return received.strip(b"\x0b\x1c\r").decode("utf-8", "replace")


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _content(answer: httpx2.Response) -> bytes:
    pieces, length = [], 0
    for piece in answer.iter_bytes():
        pieces.append(piece)
        length += len(piece)
        if length > MOST_BYTES:
            raise Unmet(f"the answer is longer than {MOST_BYTES} bytes")
    return b"".join(pieces)


class Unreached(Exception):
    """The system does not answer."""
