"""A Patient Identifier Cross-reference Manager on loopback, as PIXm 3.1.0 says (ITI-83; 2:3.83)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SYSTEM = "urn:oid:2.999.1.20"
OTHER_SYSTEM = "urn:oid:2.999.1.21"


@dataclass
class PixManager:
    """What it knows: ids of the hospital by the identifier of the affinity domain, as `system|value`.

    `answer` is sent in the place of an answer of its own, where that is wanted.
    """

    url: str
    known: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    asked: list[dict[str, list[str]]] = field(default_factory=list)
    answer: tuple[int, bytes] | None = None

    def answered(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Status and resource, by the table of 2:3.83.4.2.2."""
        (source,) = query.get("sourceIdentifier", [""])
        system, separator, _ = source.partition("|")
        if not separator or not system:
            return 400, _outcome("required", "sourceIdentifier is system|value")
        if any(one not in (SYSTEM, OTHER_SYSTEM) for one in query.get("targetSystem", [])):
            return 403, _outcome("code-invalid", "targetSystem not found")
        if source not in self.known:
            return 404, _outcome("not-found", "sourceIdentifier Patient Identifier not found")
        parameters = [
            {"name": "targetIdentifier", "valueIdentifier": {"system": of, "value": value}}
            for of, value in self.known[source]
        ]
        named = [{"name": "targetId", "valueReference": {"reference": f"{self.url}/Patient/1"}}]
        found = {"parameter": [*parameters, *named]} if parameters else {}
        return 200, {"resourceType": "Parameters", **found}


def _outcome(code: str, diagnostics: str) -> dict[str, Any]:
    issue = {"severity": "error", "code": code, "diagnostics": diagnostics}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


@contextmanager
def pix_manager() -> Iterator[PixManager]:
    """One that knows nobody yet."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path != "/fhir/Patient/$ihe-pix":
                self.send_error(404)
                return
            query = parse_qs(parts.query)
            manager.asked.append(query)
            status, resource = manager.answered(query)
            octets = json.dumps(resource).encode()
            if manager.answer is not None:
                status, octets = manager.answer
            self.send_response(status)
            self.send_header("content-type", "application/fhir+json")
            self.send_header("content-length", str(len(octets)))
            self.end_headers()
            self.wfile.write(octets)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        manager = PixManager(url=f"http://127.0.0.1:{server.server_port}/fhir")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield manager
        finally:
            server.shutdown()
            thread.join()
