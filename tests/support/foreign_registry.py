"""A registry of another vendor: ITI-42 and ITI-18 on a socket, and nothing of ours.

It shares no code with the product: whatever it is asked beside its two transactions is 404, and kept in
`strange`. Its endpoint has a path of its own, and its XML prefixes of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from uuid import uuid4

from lxml import etree

SOAP = "http://www.w3.org/2003/05/soap-envelope"
WSA = "http://www.w3.org/2005/08/addressing"
RS = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
QUERY = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
NAMES = {"s": SOAP, "a": WSA, "rs": RS, "rim": RIM, "q": QUERY, "lcm": LCM}
SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
PATH = "/vendor/services/DocumentRegistry"


class ForeignRegistry:
    """Everything that was registered, found by patient, by uniqueId or by id."""

    def __init__(self) -> None:
        self.entries: list[etree._Element] = []
        self.strange: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def unique_ids(self) -> list[str]:
        return [_identifier(entry, UNIQUE_ID) for entry in self.entries]

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            length = re.search(r"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            if (method, path) == ("POST", PATH):
                answer, status = self._answer(etree.fromstring(body)), "200 OK"
            else:
                self.strange.append(f"{method} {path}")
                answer, status = b"<html>no such page</html>", "404 Not Found"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/soap+xml; charset=utf-8\r\n"
                f"Content-Length: {len(answer)}\r\nConnection: close\r\n\r\n".encode()
                + answer
            )
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, envelope: etree._Element) -> bytes:
        action = envelope.findtext("s:Header/a:Action", "", NAMES).strip()
        message_id = envelope.findtext("s:Header/a:MessageID", "", NAMES)
        (body,) = envelope.find("s:Body", NAMES)
        if body.tag == f"{{{LCM}}}SubmitObjectsRequest":
            content = self._registered(body)
        elif body.tag == f"{{{QUERY}}}AdhocQueryRequest":
            content = self._found(body)
        else:
            raise AssertionError(f"asked for {body.tag}")
        answer = etree.Element(f"{{{SOAP}}}Envelope", nsmap={"S": SOAP, "w": WSA})
        header = etree.SubElement(answer, f"{{{SOAP}}}Header")
        etree.SubElement(header, f"{{{WSA}}}Action").text = f"{action}Response"
        etree.SubElement(header, f"{{{WSA}}}MessageID").text = uuid4().urn
        etree.SubElement(header, f"{{{WSA}}}RelatesTo").text = message_id
        etree.SubElement(answer, f"{{{SOAP}}}Body").append(content)
        return etree.tostring(answer)

    def _registered(self, request: etree._Element) -> etree._Element:
        for entry in request.iter(f"{{{RIM}}}ExtrinsicObject"):
            kept = deepcopy(entry)
            kept.set("status", APPROVED)
            self.entries.append(kept)
        return etree.Element(f"{{{RS}}}RegistryResponse", status=SUCCESS, nsmap={"x": RS})

    def _found(self, request: etree._Element) -> etree._Element:
        asked = " ".join(request.xpath(".//rim:Value/text()", namespaces=NAMES))
        response = etree.Element(
            f"{{{QUERY}}}AdhocQueryResponse", status=SUCCESS, nsmap={"y": QUERY, "r": RIM}
        )
        listed = etree.SubElement(response, f"{{{RIM}}}RegistryObjectList")
        for entry in self.entries:
            named = (_identifier(entry, UNIQUE_ID), _identifier(entry, PATIENT_ID), entry.get("id"))
            if any(f"'{each}'" in asked for each in named):
                listed.append(deepcopy(entry))
        return response


def _identifier(entry: etree._Element, scheme: str) -> str:
    (found,) = entry.xpath(
        "rim:ExternalIdentifier[@identificationScheme=$scheme]/@value", namespaces=NAMES, scheme=scheme
    )
    return str(found)


@asynccontextmanager
async def foreign_registry() -> AsyncIterator[ForeignRegistry]:
    """Such a registry, listening on a free port of this machine."""
    registry = ForeignRegistry()
    server = await asyncio.start_server(registry.connected, "127.0.0.1", 0, limit=2**20)
    registry.port = server.sockets[0].getsockname()[1]
    async with server:
        yield registry
