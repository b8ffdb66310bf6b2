"""The registry as it is served, with beside it on the same listener what it is measured against."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lxml import etree

from bench.support.untrusting import may_be_untrusting, untrusting
from registry.app import MIGRATIONS, PATH, Registry
from registry.settings import RegistrySettings
from registry.store.consents import Given
from registry.transactions import iti18
from registry.unit import Parts, Unit
from shared.audit.recorder import AuditRecorder
from shared.consent.decision import Decision, Resource
from shared.consent.evaluation import PolicyDecisions
from shared.http.raw_asgi import Receive, Scope, Send, receive_body, send_body
from shared.http.server import run_service
from shared.messages.iti18 import ITI18, StoredQueryResponse
from shared.messages.iti42 import ITI42
from shared.messages.registry import RegistryResponse, Status
from shared.security import authenticator
from shared.security.caller import Caller, Node
from shared.security.rights import Right, Rights
from shared.soap.envelope import Envelope, encode_response, read_envelope
from shared.soap.transaction import SoapTransaction
from shared.store.opening import open_database
from shared.xml import NS, Element, parse

FLOOR = "/floor"
QUERY_ONLY = "/query-only"
ELEMENT_BY_ELEMENT = "/element-by-element"
WITHOUT_RIGHTS = "/without-rights"
WITHOUT_TRUST = "/without-trust"

_MOST_BYTES = 1024 * 1024
_EMPTY: dict[str, tuple[SoapTransaction[Any, Any], Any]] = {
    ITI18.action: (ITI18, StoredQueryResponse()),
    ITI42.action: (ITI42, RegistryResponse(status=Status.SUCCESS)),
}
_CALLER = Caller(node=Node(address="127.0.0.1"), endpoint="http://127.0.0.1/xds/registry")
_OPEN = f'<rim:RegistryObjectList xmlns:rim="{NS["rim"]}">'.encode()
_CLOSE = b"</rim:RegistryObjectList>"
Built = tuple[str, dict[str, str], str | None, list[Any]]


_PERMITTED = Decision(True, "")


_unasked: ContextVar[bool] = ContextVar("unasked", default=False)


class Unasked(Rights):
    """The rights of nodes, for which nobody is asked at one path."""

    def community(self, node: Node) -> bool:
        """Whether `node` belongs to our own community."""
        return not _unasked.get() and super().community(node)

    def check(self, node: Node, door: str, right: Right | None = None) -> None:
        """Refuse a node without the right, where rights are asked for."""
        if not _unasked.get():
            super().check(node, door, right)


class Trusting(Unit):
    """A unit that asks nobody for consent."""

    async def decide(self, resources: Sequence[Resource], given: Mapping[str, Given]) -> Sequence[Decision]:
        """Everything is permitted."""
        return [_PERMITTED] * len(resources)


class Measured:
    """The registry's application, with paths of our own in front of it."""

    def __init__(self, parts: Parts) -> None:
        self._registry = Registry(parts)
        self._parts = parts
        self._paths = {
            FLOOR: self._floor,
            QUERY_ONLY: self._query_only,
            ELEMENT_BY_ELEMENT: self._element_by_element,
        }
        self._built: dict[bytes, Built] = {}

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application."""
        ours = self._paths.get(scope["path"])
        if scope["path"] == WITHOUT_RIGHTS:
            _unasked.set(True)
            scope["path"] = PATH
        if scope["path"] == WITHOUT_TRUST:
            untrusting.set(True)
            scope["path"] = PATH
        if ours is None:
            await self._registry.asgi(scope, receive, send)
            return
        envelope = read_envelope(parse(await receive_body(receive, limit=_MOST_BYTES)))
        transaction, response = await ours(envelope)
        body = response if isinstance(response, bytes) else transaction.encode_response(response).xml
        octets = encode_response(transaction.response_action, envelope.message_id, body)
        headers = [(b"content-type", b"application/soap+xml; charset=UTF-8")]
        await send_body(send, status=200, headers=headers, body=octets)

    async def start(self) -> None:
        """Start the registry."""
        await self._registry.start()

    async def stop(self) -> None:
        """Stop the registry."""
        await self._registry.stop()

    async def _floor(self, envelope: Envelope) -> tuple[SoapTransaction[Any, Any], Any]:
        """Parsed, decoded, answered empty."""
        transaction, response = _EMPTY[envelope.action]
        transaction.decode_request(_body(envelope), {})
        return transaction, response

    async def _query_only(self, envelope: Envelope) -> tuple[SoapTransaction[Any, Any], Any]:
        """The query and its answer, without assertion, consent and audit."""
        request = ITI18.decode_request(_body(envelope), {})
        return ITI18, await iti18.handle(Trusting(self._parts, _CALLER), request)

    async def _element_by_element(self, envelope: Envelope) -> tuple[SoapTransaction[Any, Any], Any]:
        """The same query; the answer is built from values, which are at hand, and then serialised."""
        request = ITI18.decode_request(_body(envelope), {})
        response = await iti18.handle(Trusting(self._parts, _CALLER), request)
        root = parse(ITI18.encode_response(StoredQueryResponse()).xml)
        listed = root[-1]
        for fragment in response.fragments:
            _build(listed, self._values_of(fragment))
        return ITI18, etree.tostring(root)

    def _values_of(self, fragment: bytes) -> Built:
        if fragment not in self._built:
            self._built[fragment] = _described(parse(_OPEN + fragment + _CLOSE)[0])
        return self._built[fragment]


def _body(envelope: Envelope) -> Element:
    assert envelope.body is not None
    return envelope.body


def _described(element: Element) -> Built:
    attributes = {str(name): str(value) for name, value in element.attrib.items()}
    return str(element.tag), attributes, element.text, [_described(child) for child in element]


def _build(parent: Element, described: Built) -> None:
    tag, attributes, text, children = described
    element = etree.SubElement(parent, tag, attributes)
    element.text = text
    for child in children:
        _build(element, child)


def main() -> None:
    """Serve until SIGTERM; the port is the only thing printed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("settings", help="settings of the registry, JSON")
    settings = RegistrySettings.model_validate_json(options.parse_args().settings)

    vars(authenticator)["Rights"] = Unasked
    may_be_untrusting(Unit)

    async def build() -> Measured:
        database = await open_database(
            settings.database_url,
            folder=settings.folder,
            migrations=MIGRATIONS,
            plans_kept=True,
        )
        return Measured(
            Parts(
                settings=settings,
                database=database,
                decisions=PolicyDecisions(settings.consent_default),
                recorder=AuditRecorder(settings, settings.service),
            )
        )

    run_service(build, settings, on_ready=lambda port: print(port, flush=True))


if __name__ == "__main__":
    main()
