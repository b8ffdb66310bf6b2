"""Over everything that is served: a name of a patient that stands in whatever a request has stands afterwards
in no log, no metric, no error, no address and no temporary file."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx2
import pydicom
import pytest

from shared.audit.dicom_xml import ParsedAuditMessage
from shared.audit.events import patient_object
from shared.audit.resource import resource_of
from shared.audit.resource_xml import write_xml
from shared.audit.syslog import frame
from shared.hl7v2.mllp import framed
from shared.pages.forms import FormBody
from shared.rest.message import JsonBody
from shared.rest.served import ServedRest
from shared.soap.envelope import encode_request
from shared.soap.package import write_package
from tests.peers.test_every_rest_transaction import PARAMETERS, QUESTIONS, Route, body_of, everything
from tests.support.audit import SOURCE, an_event
from tests.support.certificates import assertion_for, bearer, communities
from tests.support.dicom import a_ct, part10
from tests.support.dimse import COMMITMENT, STUDY_FIND, STUDY_GET, STUDY_MOVE, associated, identifier
from tests.support.every_door import SOAP, House, a_house, acquainted, form_for
from tests.support.logs import log_lines
from tests.support.metadata import DOMAIN
from xdsi.patient import message as adt

pytestmark = [pytest.mark.heavy]

CANARY = "Kanarienvogel"
BIRTH = "18471127"
#: Whatever else a request may say of somebody.
HEADERS = {
    **dict.fromkeys(
        ("user-agent", "accept-language", "x-request-id", "traceparent", "if-none-match"), CANARY
    ),
    "accept": f"application/{CANARY}",
    "referer": f"http://127.0.0.1/{CANARY}",
    "cookie": f"{CANARY}={CANARY}",
    "range": f"bytes={CANARY}",
}
PATIENT = f"{CANARY}^^^&{DOMAIN}&ISO"
_FORM = "application/x-www-form-urlencoded"
#: What a person wrote into a form is shown to that person again, to be mended.
_SHOWN_AGAIN = "text/html"


def bodies(served: ServedRest[Any, Any]) -> Iterator[tuple[str, bytes]]:
    """Bodies of every kind that a transaction might take, each with the name in it."""
    if isinstance(served.decode, JsonBody):
        fields = served.decode.kind.model_fields
        yield "application/json", json.dumps(dict.fromkeys(fields, CANARY) | {"patient_id": PATIENT}).encode()
        yield (
            "application/json",
            json.dumps({"effect": "permit", "patient_id": PATIENT, CANARY: CANARY}).encode(),
        )
        if known := body_of(served):
            yield "application/json", known.replace(b"2.25.1", CANARY.encode())
    yield "application/json", f'{{"{CANARY}": "{CANARY}'.encode()
    yield "application/fhir+json", json.dumps(an_audit_event()).encode()
    yield (
        "application/fhir+json",
        json.dumps({"resourceType": CANARY, "subject": {"display": CANARY}}).encode(),
    )
    yield "application/fhir+xml", write_xml(an_audit_event())
    yield "application/fhir+xml", f"<{CANARY}>{CANARY}".encode()
    yield (
        _FORM,
        urlencode(dict.fromkeys(("token", "patient", "subject_token", "date", CANARY), CANARY)).encode(),
    )
    yield (
        f'multipart/related; type="application/dicom"; boundary={CANARY}',
        f"--{CANARY}\r\n\r\n{CANARY}".encode(),
    )
    yield f"multipart/form-data; boundary={CANARY}", f"--{CANARY}\r\n\r\n{CANARY}".encode()


def an_audit_event() -> dict[str, Any]:
    event = an_event(outcome_description=CANARY, objects=(patient_object(PATIENT),))
    return resource_of(ParsedAuditMessage(event=event, source=SOURCE))


def filled(path: str) -> Iterator[str]:
    """The path with the name in every parameter, and with one in which nothing can be read."""
    for value in (CANARY, quote(f"{PATIENT}/../{CANARY}", safe="")):
        yield re.sub(r"\{[^}]*\}", value, path)
    yield re.sub(r"\{([^}]*)\}", lambda found: PARAMETERS.get(found[1], "2.25.1"), path)


class Told:
    """What came back: every answer that is an error, and every address."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.number = 0

    def look(self, where: str, answer: httpx2.Response) -> None:
        self.number += 1
        headers = {name: value for name, value in answer.headers.items() if CANARY in value}
        if headers:
            self.wrong.append(f"{where}: {headers}")
        shown_again = answer.headers.get("content-type", "").startswith(_SHOWN_AGAIN)
        if answer.status_code >= 400 and CANARY in answer.text and not shown_again:
            self.wrong.append(f"{where}: {answer.status_code} {answer.text[:300]}")
        if shown_again and re.search(rf'(?:href|src|action)="[^"]*{CANARY}', answer.text):
            self.wrong.append(f"{where}: an address on the page")


async def asked_over_rest(http: httpx2.AsyncClient, house: House, route: Route, told: Told) -> None:
    service, served, method, path = route
    token = bearer(assertion_for("dr.north", resource_ids=(PATIENT,)))
    query = urlencode({"PatientName": CANARY, "patient.identifier": CANARY, "date": "2030", CANARY: CANARY})
    if method != "POST":
        question = QUESTIONS.get(path.rpartition("/")[2], CANARY)
        given = ({"authorization": f"Bearer {token}"}, {"authorization": f"Bearer {CANARY}.x.y"}, HEADERS)
        for url, headers in zip(dict.fromkeys(filled(path)), given, strict=False):
            for with_query in (f"{url}?{query}", f"{url}?{question}"):
                answer = await http.request(method, house.url(service, with_query), headers=headers)
                told.look(f"{service} {method} {path}", answer)
        address = house.url(service, f"{path}?{query}")
        told.look(f"{service} {method} {path}", await http.request(method, address, headers=HEADERS))
    if method != "POST":
        return
    for kind, body in bodies(served):
        headers = {"content-type": kind, "accept": "*/*"}
        address = house.url(service, next(filled(path)))
        told.look(f"{service} {path} {kind}", await http.post(address, content=body, headers=headers))
    if isinstance(served.decode, FormBody):
        http.base_url = httpx2.URL(house.url(service))
        sent = await form_for(http, served, assertion_for("dr.north"))
        fields = dict.fromkeys(served.decode.kind.model_fields, CANARY) | {"token": sent["data"]["token"]}
        given = {**sent, "data": {name: value for name, value in fields.items() if name != "assertion"}}
        told.look(f"{service} {path} form", await http.post(path, **given))


async def asked_over_soap(http: httpx2.AsyncClient, house: House, told: Told) -> None:
    for service, path, all_served in SOAP:
        url = house.url(service, path)
        for served in all_served:
            transaction = served.transaction
            namespace, _, name = transaction.body_root[1:].partition("}")
            inner = f'<{CANARY} id="{CANARY}" value="{CANARY}">{CANARY}</{CANARY}>'
            query = (
                f'<q:AdhocQuery xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0" id="{CANARY}">'
                '<q:Slot name="$XDSDocumentEntryPatientId"><q:ValueList>'
                f"<q:Value>{CANARY}</q:Value></q:ValueList></q:Slot></q:AdhocQuery>"
            )
            for content in (inner, query, f"<{CANARY}"):
                body = f'<{name} xmlns="{namespace}">{content}</{name}>'.encode()
                envelope = encode_request(transaction.action, f"urn:{CANARY}", url, body, None)
                kind, octets = "application/soap+xml; charset=UTF-8", envelope
                if transaction.mtom:
                    kind, pieces = write_package(envelope, ())
                    octets = b"".join(pieces)  # type: ignore[arg-type]
                answer = await http.post(url, content=octets, headers={"content-type": kind})
                told.look(f"{service} {transaction.number}", without_message_id(answer))


def without_message_id(answer: httpx2.Response) -> httpx2.Response:
    """An answer names the message that it answers, as WS-Addressing asks."""
    text = answer.text.replace(f"urn:{CANARY}", "")
    return httpx2.Response(answer.status_code, headers={"content-type": "text/xml"}, text=text)


def asked_over_dimse(port: int) -> None:
    instance = pydicom.dcmread(
        BytesIO(part10(a_ct(PatientName=CANARY, PatientID=CANARY, PatientBirthDate=BIRTH)))
    )
    models = (STUDY_FIND, STUDY_MOVE, STUDY_GET, COMMITMENT, str(instance.SOPClassUID))
    association = associated(port, "XDSI", *models)
    keys = identifier("STUDY", PatientName=CANARY, PatientID=CANARY, StudyInstanceUID=f"1.2.{CANARY}")
    try:
        association.send_c_store(instance)
        list(association.send_c_find(keys, STUDY_FIND))
        list(association.send_c_move(keys, CANARY.upper(), STUDY_MOVE))
        list(association.send_c_get(keys, STUDY_GET))
        association.send_n_action(keys, 1, COMMITMENT, f"{COMMITMENT}.1")
    finally:
        association.release()


async def said(port: int, octets: bytes, *, answered: bool) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(octets)
    answer = await reader.readuntil(b"\x1c\x0d") if answered else b""
    writer.close()
    return answer


async def test_a_name_that_was_sent_to_every_door_is_left_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    settings = {**acquainted(), "affinity_domain": DOMAIN, "patients": "any"}
    settings["assertion"] = communities()[0].settings()["assertion"]
    told = Told()
    with log_lines() as lines:
        async with (
            a_house(tmp_path / "data", **settings) as house,
            httpx2.AsyncClient(trust_env=False, timeout=60) as http,
        ):
            for route in everything():
                await asked_over_rest(http, house, route, told)
            await asked_over_soap(http, house, told)
            await asyncio.to_thread(asked_over_dimse, house.listeners["DIMSE"])
            registration = adt("A04", patient=PATIENT, name=f"{CANARY}^Otto")
            born = registration.replace(b"^Otto", f"^Otto||{BIRTH}".encode())
            fed = [born, f"MSH|{CANARY}|{CANARY}".encode()]
            answers = [await said(house.listeners["MLLP"], framed(one), answered=True) for one in fed]
            await said(house.listeners["syslog"], frame(f"<85>1 {CANARY}".encode()), answered=False)
            pages = [(await http.get(house.url(name, "/metrics"))).text for name in house.ports]
        logged = [
            line for line in map(json.dumps, lines()) if CANARY.lower() in line.lower() or BIRTH in line
        ]

    left = [path for path in temporary.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]
    assert not told.wrong, "\n".join(dict.fromkeys(told.wrong))
    assert logged == []
    assert [page for page in pages if CANARY in page or BIRTH in page] == []
    assert left == []
    assert [
        one for one in answers if b"|AA|" not in one and CANARY.encode() in one.partition(b"MSA")[2]
    ] == []
    assert told.number > 400
