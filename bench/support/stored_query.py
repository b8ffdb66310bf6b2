"""FindDocuments as zeep, a client made from a WSDL, builds and reads it, and as we do."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import zeep
from lxml import etree

from bench.support.registry_content import TYPES, cx, entry
from consumer.transactions.iti18 import FIND_DOCUMENTS
from shared.ebrim.codec import encode_document_entry
from shared.ebrim.model import DocumentEntry
from shared.messages.iti18 import (
    ITI18,
    ReturnType,
    StoredQueryRequest,
    StoredQueryResponse,
    encode_parameters,
)
from shared.soap.envelope import encode_request, encode_response, read_envelope
from shared.xml import parse

URL = "http://127.0.0.1:8010/xds/registry"
ENTRIES = 50
_WSDL = Path(__file__).resolve().parents[2] / "shared" / "wsdl" / "registry.wsdl"
_PARAMETERS: dict[str, Any] = {
    "$XDSDocumentEntryPatientId": cx("P-1"),
    "$XDSDocumentEntryStatus": ("urn:oasis:names:tc:ebxml-regrep:StatusType:Approved",),
    "$XDSDocumentEntryFormatCode": ("1.2.840.10008.5.1.4.1.1.88.59^^1.2.840.10008.2.6.1",),
    "$XDSDocumentEntryServiceStartTimeFrom": "20200101",
}


class _Zeep:
    def __init__(self) -> None:
        self._client: Any = zeep.Client(str(_WSDL))  # type: ignore[no-untyped-call]
        (service,) = self._client.wsdl.services.values()
        (port,) = service.ports.values()
        operations = port.binding.all().values()
        self._operation = next(one for one in operations if one.abstract.wsa_action == ITI18.action)

    def built(self) -> bytes:
        slots = [
            {"name": name, "ValueList": {"Value": [value]}}
            for name, ((value, *_),) in encode_parameters(_PARAMETERS).items()
        ]
        envelope = self._client.create_message(
            self._client.service,
            self._operation.name,
            ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
            AdhocQuery={"id": FIND_DOCUMENTS, "Slot": slots},
        )
        octets: bytes = etree.tostring(envelope)
        return octets

    def read(self, octets: bytes) -> int:
        answer = self._operation.process_reply(etree.fromstring(octets))
        return len(answer.RegistryObjectList._value_1)


def _built() -> bytes:
    request = StoredQueryRequest(
        query_id=FIND_DOCUMENTS, return_type=ReturnType.LEAF_CLASS, parameters=encode_parameters(_PARAMETERS)
    )
    return encode_request(ITI18.action, f"urn:uuid:{uuid4()}", URL, ITI18.encode_request(request).xml, None)


def _read(octets: bytes) -> int:
    body = read_envelope(parse(octets)).body
    assert body is not None
    return len(ITI18.decode_response(body, {}).objects.document_entries)


def _answer() -> bytes:
    fragments = tuple(map(encode_document_entry, map(_entry, range(ENTRIES))))
    body = ITI18.encode_response(StoredQueryResponse(fragments=fragments))
    return encode_response(ITI18.response_action, "urn:uuid:1", body.xml)


def _entry(number: int) -> DocumentEntry:
    return entry(
        TYPES[number % len(TYPES)],
        entry_uuid=f"urn:uuid:00000000-0000-4000-8000-{number:012}",
        unique_id=f"2.25.{10**18 + number}",
        patient_id=cx("P-1"),
    )


def milliseconds(*, rounds: int) -> dict[str, tuple[float, float]]:
    """Processor time of building a query, and of reading an answer with `ENTRIES` entries.

    Ours, and zeep's, in turns.
    """
    foreign, answer = _Zeep(), _answer()
    assert _read(answer) == foreign.read(answer) == ENTRIES
    # What either holds for good is looked at by no collection while the other works.
    gc.freeze()
    return {
        "building ITI-18": _in_turns(_built, foreign.built, rounds),
        "reading its answer": _in_turns(lambda: _read(answer), lambda: foreign.read(answer), rounds),
    }


def _in_turns(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> tuple[float, float]:
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for of_one, work in zip(taken, (ours, theirs), strict=True):
            began = time.process_time()
            work()
            of_one.append((time.process_time() - began) * 1e3)
    return statistics.median(taken[0]), statistics.median(taken[1])
