"""Who may not see sees nothing, and learns nothing from how it is told; the trail knows who it was and why.

On real services with mutual TLS: a clinician whom the patient refuses, users who prove nothing, nodes that
are none of ours.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pydicom
import pytest
from lxml import etree

from consumer.domain.clinician import Clinician
from consumer.imaging_document_consumer import Via
from shared.ebrim.codec import DecodedSubmission
from shared.ebrim.model import Code, DocumentEntry
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.rad69 import RAD69, RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from tests.support.assertions import edited, without_signature
from tests.support.certificates import stranger
from tests.support.community import (
    CLERK,
    RADIOLOGIST,
    ROLES,
    StudyFiles,
    assertion_of,
    consumer_for,
    cx,
    envelope_in,
    http_of,
    make_known,
    permit,
    post,
    publish,
    running,
    settings_of,
    store,
    studies_in,
    trail,
    trail_until,
)
from tests.support.updates import a_version, an_update, new_version
from xdsi.builtin_study import PATIENT_ID, write_study
from xdsi.consent import ask_registry
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

NURSE = Clinician(name_id="nurse.south", roles=(Code("NURSE", ROLES, "Nurse"),))
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
SOAP = "{http://www.w3.org/2003/05/soap-envelope}"
RS = "{urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0}"

# What nobody ever registered or stored, of the same form as what was.
ABSENT = {
    "patient_id": cx("NOBODY-1"),
    "entry_uuid": "urn:uuid:00000000-0000-4000-8000-000000000001",
    "unique_id": "2.25.100000000000000000000000000000000001",
    "set_uuid": "urn:uuid:00000000-0000-4000-8000-000000000002",
    "set_unique_id": "2.25.100000000000000000000000000000000002",
    "study": "2.25.100000000000000000000000000000000003",
    "series": "2.25.100000000000000000000000000000000004",
    "instance": "2.25.100000000000000000000000000000000005",
}


@dataclass
class Case:
    """A published study, what it is called everywhere, and the policy that refuses the clerk."""

    stage: Stage
    study: StudyFiles
    entry: DocumentEntry
    policy_id: str
    ids: dict[str, str] = field(default_factory=dict)

    def url(self, name: str) -> str:
        path = {"registry": "registry", "repository": "repository", "source": "imaging-source"}[name]
        return self.stage.url(name, f"/xds/{path}")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("community")
    write_study(folder / "study")
    (study,) = studies_in(folder / "study")
    changes = {"consent": {"max_age_seconds": 2}, "audit": {"refusals_seconds": 0.3}}
    with running(folder, **changes) as stage:
        yield asyncio.run(_published(stage, study))


async def _published(stage: Stage, study: StudyFiles) -> Case:
    await make_known(stage, PATIENT_ID)
    await store(stage, [study])
    await publish(stage, study.uid)
    await permit(stage, PATIENT_ID)
    refusal = {"patient_id": study.patient_id, "effect": "deny", "roles": [str(CLERK.roles[0])]}
    policy = await ask_registry(settings_of(stage, Service.REGISTRY), "set", refusal)
    async with consumer_for(stage) as consumer:
        (entry,) = await consumer.find(study.patient_id)
    case = Case(stage, study, entry, policy["policy_id"])
    header = pydicom.dcmread(next(iter(study.files.values())), stop_before_pixels=True)
    sets = await _submission_sets(case)
    case.ids = {
        "patient_id": study.patient_id,
        "entry_uuid": entry.entry_uuid,
        "unique_id": entry.unique_id,
        "set_uuid": sets[0][0],
        "set_unique_id": sets[0][1],
        "study": study.uid,
        "series": header.SeriesInstanceUID,
        "instance": header.SOPInstanceUID,
    }
    return case


async def _submission_sets(case: Case) -> list[tuple[str, str]]:
    request = _query(
        "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3",
        {
            "$patientId": case.study.patient_id,
            "$XDSDocumentEntryStatus": (APPROVED,),
            "$XDSSubmissionSetStatus": (APPROVED,),
            "$XDSFolderStatus": (APPROVED,),
        },
    )
    async with http_of(case.stage) as http:
        answer = await post(
            http, ITI18, case.url("registry"), request, assertion=assertion_of(case.stage, RADIOLOGIST)
        )
    objects = ITI18.decode_response(_body(answer), {}).objects
    return [(one.entry_uuid, one.unique_id) for one in objects.submission_sets]


# --- requests ----------------------------------------------------------------------------------------


def _query(
    query_id: str, parameters: Mapping[str, Any], return_type: ReturnType = ReturnType.LEAF_CLASS
) -> StoredQueryRequest:
    return StoredQueryRequest(
        query_id=query_id, return_type=return_type, parameters=encode_parameters(parameters)
    )


Ids = Mapping[str, str]
QUERIES: dict[str, tuple[str, Callable[[Ids], dict[str, Any]]]] = {
    "FindDocuments": (
        "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        lambda ids: {
            "$XDSDocumentEntryPatientId": ids["patient_id"],
            "$XDSDocumentEntryStatus": (APPROVED,),
        },
    ),
    "GetDocuments by entryUUID": (
        "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
        lambda ids: {"$XDSDocumentEntryEntryUUID": (ids["entry_uuid"],)},
    ),
    "GetDocuments by uniqueId": (
        "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4",
        lambda ids: {"$XDSDocumentEntryUniqueId": (ids["unique_id"],)},
    ),
    "GetAll": (
        "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3",
        lambda ids: {
            "$patientId": ids["patient_id"],
            "$XDSDocumentEntryStatus": (APPROVED,),
            "$XDSSubmissionSetStatus": (APPROVED,),
            "$XDSFolderStatus": (APPROVED,),
        },
    ),
    "GetSubmissionSetAndContents by entryUUID": (
        "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83",
        lambda ids: {"$XDSSubmissionSetEntryUUID": ids["set_uuid"]},
    ),
    "GetSubmissionSetAndContents by uniqueId": (
        "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83",
        lambda ids: {"$XDSSubmissionSetUniqueId": ids["set_unique_id"]},
    ),
    "GetAssociations of the entry": (
        "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155",
        lambda ids: {"$uuid": (ids["entry_uuid"],)},
    ),
    "GetAssociations of the set": (
        "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155",
        lambda ids: {"$uuid": (ids["set_uuid"],)},
    ),
}


def _retrieval(case: Case, ids: Ids) -> RetrieveDocumentSetRequest:
    document = DocumentRequest(
        repository_unique_id=case.entry.repository_unique_id, document_unique_id=ids["unique_id"]
    )
    return RetrieveDocumentSetRequest(documents=(document,))


def _imaging(case: Case, ids: Ids) -> RetrieveImagingDocumentSetRequest:
    location = settings_of(case.stage, Service.IMAGING_SOURCE).retrieve_location_uid
    document = DocumentRequest(repository_unique_id=location, document_unique_id=ids["instance"])
    series = SeriesRequest(series_instance_uid=ids["series"], documents=(document,))
    return RetrieveImagingDocumentSetRequest(
        studies=(StudyRequest(study_instance_uid=ids["study"], series=(series,)),),
        transfer_syntax_uids=("1.2.840.10008.1.2.1",),
    )


RESOURCES = {
    "study": "/studies/{study}",
    "series": "/studies/{study}/series/{series}",
    "instance": "/studies/{study}/series/{series}/instances/{instance}",
}


def _bearer(assertion: bytes | None) -> dict[str, str]:
    if assertion is None:
        return {}
    return {"authorization": f"Bearer {urlsafe_b64encode(assertion).rstrip(b'=').decode()}"}


async def _get(case: Case, path: str, assertion: bytes | None) -> httpx2.Response:
    async with http_of(case.stage) as http:
        return await http.get(
            case.stage.url("source", f"/dicomweb{path}"), headers={"accept": "*/*", **_bearer(assertion)}
        )


async def _soap(case: Case, transaction: Any, request: Any, assertion: bytes | None) -> httpx2.Response:
    name = {"ITI-18": "registry", "ITI-43": "repository", "RAD-69": "source"}[transaction.number]
    async with http_of(case.stage) as http:
        return await post(http, transaction, case.url(name), request, assertion=assertion)


def _body(response: httpx2.Response) -> etree._Element:
    (body,) = envelope_in(response).find(f"{SOAP}Body")  # type: ignore[misc]
    return body


def _told(response: httpx2.Response, ids: Ids) -> tuple[int, str, str]:
    """What a client can tell apart in an answer, once the ids that it sent itself are taken out."""
    text = etree.tostring(_body(response)).decode()
    for name, value in ids.items():
        text = text.replace(value, f"<{name}>")
    return response.status_code, response.headers["content-type"].partition(";")[0], text


# --- a clinician whom the patient refuses ------------------------------------------------------------


@pytest.mark.parametrize("return_type", [ReturnType.LEAF_CLASS, ReturnType.OBJECT_REF])
@pytest.mark.parametrize("name", QUERIES)
async def test_a_query_shows_the_refused_as_little_as_of_what_does_not_exist(
    case: Case, name: str, return_type: ReturnType
):
    query_id, parameters = QUERIES[name]

    async def asked(ids: Ids, clinician: Clinician) -> httpx2.Response:
        request = _query(query_id, parameters(ids), return_type)
        return await _soap(case, ITI18, request, assertion_of(case.stage, clinician))

    permitted = _told(await asked(case.ids, RADIOLOGIST), case.ids)
    absent = _told(await asked(ABSENT, CLERK), ABSENT)

    assert "<rim:" in permitted[2].replace("<rim:RegistryObjectList", "")
    for clinician in (CLERK, NURSE):
        assert _told(await asked(case.ids, clinician), case.ids) == absent


@pytest.mark.parametrize(("transaction", "request_of"), [(ITI43, _retrieval), (RAD69, _imaging)])
async def test_a_retrieval_answers_the_refused_as_if_it_did_not_exist(
    case: Case, transaction: Any, request_of: Any
):
    async def asked(ids: Ids, clinician: Clinician) -> httpx2.Response:
        return await _soap(case, transaction, request_of(case, ids), assertion_of(case.stage, clinician))

    permitted = _told(await asked(case.ids, RADIOLOGIST), case.ids)
    absent = _told(await asked(ABSENT, CLERK), ABSENT)

    assert "ResponseStatusType:Success" in permitted[2]
    assert 'errorCode="XDSDocumentUniqueIdError"' in absent[2]
    for clinician in (CLERK, NURSE):
        assert _told(await asked(case.ids, clinician), case.ids) == absent


@pytest.mark.parametrize("suffix", ["", "/metadata"])
@pytest.mark.parametrize("resource", RESOURCES)
async def test_wado_rs_answers_the_refused_as_if_it_did_not_exist(case: Case, resource: str, suffix: str):
    path = RESOURCES[resource] + suffix

    async def asked(ids: Ids, clinician: Clinician) -> tuple[int, dict[str, str], bytes]:
        answer = await _get(case, path.format(**ids), assertion_of(case.stage, clinician))
        headers = {name: value for name, value in answer.headers.items() if name != "date"}
        return answer.status_code, headers, answer.content

    status, _, content = await asked(case.ids, RADIOLOGIST)
    absent = await asked(ABSENT, CLERK)

    assert status == 200
    assert content
    assert absent[0] == 404
    for clinician in (CLERK, NURSE):
        assert await asked(case.ids, clinician) == absent


async def test_part_of_a_request_says_no_more_than_the_whole(case: Case):
    """A refused document beside one that never was: both answers are of one kind, and only the id differs."""
    both = RetrieveDocumentSetRequest(
        documents=(*_retrieval(case, case.ids).documents, *_retrieval(case, ABSENT).documents)
    )

    answer = await _soap(case, ITI43, both, assertion_of(case.stage, CLERK))

    errors = list(_body(answer).iter(f"{RS}RegistryError"))
    assert [error.get("location") for error in errors] == [case.ids["unique_id"], ABSENT["unique_id"]]
    assert len({re.sub(r"2\.25\.\d+", "", error.get("codeContext", "")) for error in errors}) == 1
    assert len({(error.get("errorCode"), error.get("severity")) for error in errors}) == 1


async def test_the_consumer_of_a_refused_clinician_gets_nothing(case: Case):
    async with consumer_for(case.stage) as consumer:
        manifest = await consumer.manifest(case.entry)
    async with consumer_for(case.stage, CLERK) as consumer:
        assert await consumer.find(case.study.patient_id) == ()
        for via in Via:
            result = await consumer.retrieve(manifest, case.stage.folder / f"clerk-{via}", via=via)
            assert (result.instances, len(result.missing)) == (0, len(case.study.files))
    assert not [path for path in case.stage.folder.glob("clerk-*/**/*") if path.is_file()]


@pytest.mark.parametrize("clinician", [CLERK, NURSE], ids=lambda clinician: clinician.name_id)
async def test_the_trail_tells_who_was_refused_and_by_which_policy(case: Case, clinician: Clinician):
    assertion = assertion_of(case.stage, clinician)
    await _soap(case, ITI43, _retrieval(case, case.ids), assertion)
    await _soap(case, RAD69, _imaging(case, case.ids), assertion)
    for path in RESOURCES.values():
        await _get(case, path.format(**case.ids), assertion)
    wanted = {"ITI-43", "RAD-69", "RAD-107"}

    def kinds(records: list[dict[str, Any]]) -> set[str]:
        return {code["code"] for record in records for code in record["types"]}

    records = await trail_until(
        case.stage,
        lambda records: wanted <= kinds(records),
        user=clinician.name_id,
        outcome="failure",
        patient=case.study.patient_id,
    )

    assert kinds(records) >= wanted
    decided = case.policy_id if clinician is CLERK else "default"
    for record in records:
        (human,) = [one for one in record["participants"] if one["name_id"]]
        assert human["name_id"] == clinician.name_id
        assert [role["code"] for role in human["roles"]] == [clinician.roles[0].value]
        assert record["outcome"] == 8
        assert decided in record["description"]
        assert record["patients"] == [case.study.patient_id]
    explained = {
        "patient_id": case.study.patient_id,
        "action": "retrieve",
        "roles": [str(clinician.roles[0])],
        "purposes": ["TREAT"],
    }
    why = await ask_registry(settings_of(case.stage, Service.REGISTRY), "why", explained)
    assert not why["permitted"]
    assert decided in why["reason"]


# --- users who prove nothing -------------------------------------------------------------------------

NOW = datetime.now(UTC)
FORGERIES: dict[str, tuple[str, Callable[[Stage], bytes | None]]] = {
    "absent": ("InvalidSecurity", lambda stage: None),
    "unsigned": ("FailedCheck", lambda stage: without_signature(assertion_of(stage))),
    "altered": (
        "FailedCheck",
        lambda stage: edited(assertion_of(stage, CLERK), b'code="BILLING"', b'code="RAD-PHYS"'),
    ),
    "signed with a foreign key": ("FailedCheck", lambda stage: _forged(stage)),
    "of an issuer whom nobody believes": (
        "FailedAuthentication",
        lambda stage: assertion_of(stage, provider=stranger()),
    ),
    "expired": (
        "InvalidSecurityToken",
        lambda stage: assertion_of(stage, not_before=NOW - timedelta(hours=2)),
    ),
    "not yet valid": (
        "InvalidSecurityToken",
        lambda stage: assertion_of(stage, not_before=NOW + timedelta(hours=2)),
    ),
    "for another audience": (
        "InvalidSecurityToken",
        lambda stage: assertion_of(stage, audience="urn:oid:2.999.99"),
    ),
}


def _forged(stage: Stage) -> bytes:
    """South's name, North's key."""
    return assertion_of(stage, provider=replace(stage.south, provider=stage.north.provider))


@pytest.mark.parametrize(
    ("transaction", "reporter"), [(ITI18, "registry"), (ITI43, "repository"), (RAD69, "imaging-source")]
)
@pytest.mark.parametrize("name", FORGERIES)
async def test_a_wrong_assertion_has_its_fault_and_its_record(
    case: Case, name: str, transaction: Any, reporter: str
):
    subcode, make = FORGERIES[name]
    request = {
        "ITI-18": lambda: _query(QUERIES["FindDocuments"][0], QUERIES["FindDocuments"][1](case.ids)),
        "ITI-43": lambda: _retrieval(case, case.ids),
        "RAD-69": lambda: _imaging(case, case.ids),
    }[transaction.number]()
    began = _now()

    answer = await _soap(case, transaction, request, make(case.stage))

    fault = _body(answer)
    assert answer.status_code == 400
    assert fault.tag == f"{SOAP}Fault"
    values = [_qname(value) for value in fault.iter(f"{SOAP}Value")]
    assert values == [(SOAP[1:-1], "Sender"), (WSSE, subcode)]
    assert not re.search(rb"2\.25\.|DEMO|signature|audience|expired", answer.content)
    records = await _failures(case, reporter, began)
    (record,) = records
    assert record["event"]["code"] == "110114"
    assert [code["code"] for code in record["types"]] == ["110122"]
    assert record["outcome"] == 8
    assert f"{subcode} ({transaction.number})" in record["description"]
    good = await _soap(case, transaction, request, assertion_of(case.stage))
    assert good.status_code == 200


def _qname(value: etree._Element) -> tuple[str, str]:
    prefix, _, name = (value.text or "").strip().rpartition(":")
    return value.nsmap[prefix or None] or "", name


def _now() -> datetime:
    """The millisecond of now, as events have it."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def _failures(case: Case, reporter: str, since: datetime) -> list[dict[str, Any]]:
    """Records of what failed at a service since a moment, newest first; at least one."""
    return await trail_until(
        case.stage,
        bool,
        source=f"xdsi-{reporter}",
        outcome="failure",
        since=since.isoformat(),
    )


@pytest.mark.parametrize("suffix", ["", "/metadata"])
@pytest.mark.parametrize("name", FORGERIES)
async def test_wado_rs_asks_for_a_user_who_proves_it(case: Case, name: str, suffix: str):
    _, make = FORGERIES[name]
    began = _now()

    answer = await _get(case, RESOURCES["study"].format(**case.ids) + suffix, make(case.stage))

    assert answer.status_code == 401
    assert "bearer" in answer.headers["www-authenticate"].lower()
    assert case.study.uid.encode() not in answer.content
    records = await _failures(case, "imaging-source", began)
    assert {code["code"] for record in records for code in record["types"]} == {"110122"}
    assert all("(RAD-107)" in record["description"] for record in records)


# --- nodes that are none of ours ---------------------------------------------------------------------


def _without_certificate(stage: Stage) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(stage.south.trust))
    context.check_hostname = False
    return context


def _foreign(stage: Stage) -> ssl.SSLContext:
    context = _without_certificate(stage)
    node = stranger().node
    context.load_cert_chain(node.certificate, node.key)
    return context


LISTENERS = {
    "registry": ("registry", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "feed": ("registry", b"\x0bMSH|^~\\&|\x1c\x0d"),
    "repository": ("repository", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "source": ("imaging-source", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "dimse": ("imaging-source", b"\x01\x00\x00\x00\x00\x00"),
    "audit": ("audit-repository", b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "syslog": ("audit-repository", b"5 hello"),
}


def _said(port: int, context: ssl.SSLContext | None, words: bytes) -> bytes:
    """What a listener says to `words`, as far as it says anything before it ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            if context is None:
                plain.sendall(words)
                return _rest(plain)
            with context.wrap_socket(plain) as secured:
                secured.sendall(words)
                return _rest(secured)
        except (ssl.SSLError, ConnectionError):
            return b""


def _rest(connection: socket.socket) -> bytes:
    said = b""
    while octets := connection.recv(4096):
        said += octets
    return said


@pytest.mark.parametrize(
    "context_of",
    [_without_certificate, _foreign, None],
    ids=["without certificate", "certificate of a foreign authority", "without TLS"],
)
@pytest.mark.parametrize("listener", LISTENERS)
async def test_a_node_that_is_none_of_ours_gets_no_word_and_is_recorded(
    case: Case, listener: str, context_of: Callable[[Stage], ssl.SSLContext] | None
):
    reporter, words = LISTENERS[listener]
    before = len(await _alerts(case, reporter))
    context = context_of(case.stage) if context_of else None

    said = await asyncio.to_thread(_said, case.stage.ports[listener], context, words)

    # An alert of TLS is all that an unencrypted peer may read.
    assert said == b"" or (context is None and said[:1] == b"\x15")
    alerts = await _alerts(case, reporter, more_than=before)
    assert len(alerts) == before + 1
    assert [code["code"] for code in alerts[0]["types"]] == ["110126"]
    assert alerts[0]["outcome"] == 8


async def _alerts(case: Case, reporter: str, more_than: int = -1) -> list[dict[str, Any]]:
    return await trail_until(
        case.stage, lambda records: len(records) > more_than, source=f"xdsi-{reporter}", type="110126"
    )


@pytest.mark.parametrize(
    ("name", "path", "content"),
    [
        ("registry", "/consent/policies", {}),
        ("registry", "/consent/set", {"effect": "permit"}),
        ("registry", "/consent/remove", {"policy_id": "urn:uuid:00000000-0000-4000-8000-000000000003"}),
        ("registry", "/consent/why", {}),
        ("registry", "/consent/breaks", {}),
        ("registry", "/consent/sign-off", {"policy_id": "x", "note": "y"}),
        ("audit", "/api/search", {}),
        ("audit", "/api/verify", {}),
        ("source", "/api/publish", {"study_instance_uid": "2.25.1"}),
        ("source", "/api/publications", {}),
        ("source", "/api/manifest", {"study_instance_uid": "2.25.1"}),
        ("repository", "/api/entries", {"study_instance_uid": "2.25.1", "patient_id": "1"}),
        ("source", "/api/publications/retry", {"publication_id": "1"}),
    ],
)
async def test_what_is_for_the_community_itself_is_not_for_another_hospital(
    case: Case, name: str, path: str, content: dict[str, Any]
):
    body = {"patient_id": case.study.patient_id, **content} if name == "registry" else content
    async with http_of(case.stage) as http:
        answer = await http.post(case.stage.url(name, path), json=body)

    assert answer.status_code == 403
    assert "community" in answer.text


async def test_a_withdrawn_permission_holds_within_its_time(case: Case):
    """A copy of policies may be used for seconds, and no longer (XDSI_CONSENT__MAX_AGE_SECONDS)."""
    other = Clinician(name_id="dr.other", roles=(Code("SURGEON", ROLES, "Surgeon"),))
    settings = settings_of(case.stage, Service.REGISTRY)
    permission = {"patient_id": case.study.patient_id, "effect": "permit", "roles": [str(other.roles[0])]}
    policy = await ask_registry(settings, "set", permission)

    async def status() -> int:
        answer = await _get(case, RESOURCES["study"].format(**case.ids), assertion_of(case.stage, other))
        return answer.status_code

    most = settings_of(case.stage, Service.IMAGING_SOURCE).consent.max_age_seconds
    await _within(most + 5, status, 200)
    await ask_registry(
        settings, "remove", {"patient_id": case.study.patient_id, "policy_id": policy["policy_id"]}
    )
    await _within(most + 5, status, 404)
    assert await trail(case.stage, type="110129", object=policy["policy_id"])


async def _within(seconds: float, status: Callable[[], Any], wanted: int) -> None:
    until = datetime.now(UTC) + timedelta(seconds=seconds)
    while await status() != wanted:
        assert datetime.now(UTC) < until
        await asyncio.sleep(0.2)


RESTRICTED = Code("R", "2.16.840.1.113883.5.25", "restricted")


async def test_a_document_that_was_restricted_later_is_withheld_everywhere_within_that_time(case: Case):
    """The repository and the imaging source hold metadata as submitted; the registry's are newer."""
    therapist = Clinician(name_id="t.north", roles=(Code("THERAPIST", ROLES, "Therapist"),))
    settings = settings_of(case.stage, Service.REGISTRY)
    role = {"patient_id": case.study.patient_id, "roles": [str(therapist.roles[0])]}
    permission = await ask_registry(settings, "set", {**role, "effect": "permit"})
    refusal = await ask_registry(
        settings, "set", {**role, "effect": "deny", "confidentiality": [str(RESTRICTED)]}
    )
    assertion = assertion_of(case.stage, therapist)
    query_id, parameters = QUERIES["FindDocuments"]
    find = _query(query_id, parameters(case.ids))

    async def found() -> int:
        return len(
            ITI18.decode_response(
                _body(await _soap(case, ITI18, find, assertion)), {}
            ).objects.document_entries
        )

    async def given() -> list[bool]:
        retrieved = [
            await _soap(case, ITI43, _retrieval(case, case.ids), assertion),
            await _soap(case, RAD69, _imaging(case, case.ids), assertion),
        ]
        shown = [
            await _get(case, path.format(**case.ids) + suffix, assertion)
            for path in RESOURCES.values()
            for suffix in ("", "/metadata")
        ]
        return [
            *("ResponseStatusType:Success" in _told(answer, case.ids)[2] for answer in retrieved),
            *(answer.status_code == 200 for answer in shown),
        ]

    most = settings_of(case.stage, Service.IMAGING_SOURCE).consent.max_age_seconds
    await _within(most + 5, given, [True] * 8)
    assert await found() == 1

    restricted = await _updated(case, case.entry, confidentiality_codes=(RESTRICTED,))
    assert await found() == 0
    await _within(most + 5, given, [False] * 8)
    assert (await given()) == [False] * 8

    def told_of(records: list[dict[str, Any]]) -> bool:
        refused = [one for one in records if refusal["policy_id"] in one["description"]]
        return {"ITI-43", "RAD-69", "RAD-107"} <= {code["code"] for one in refused for code in one["types"]}

    await trail_until(case.stage, told_of, user=therapist.name_id, outcome="failure")

    await _updated(case, restricted, confidentiality_codes=case.entry.confidentiality_codes)
    assert await found() == 1
    await _within(most + 5, given, [True] * 8)
    for policy in (permission, refusal):
        await ask_registry(
            settings, "remove", {"patient_id": case.study.patient_id, "policy_id": policy["policy_id"]}
        )


async def _updated(case: Case, entry: DocumentEntry, **changes: Any) -> DocumentEntry:
    """The next version of an entry, registered by ITI-57."""
    version = new_version(entry, **changes)
    message = an_update(a_version(version, str(entry.version or 1)))
    request = UpdateRequest(decoded=DecodedSubmission(submission=message))
    async with http_of(case.stage, case.stage.north) as http:
        answer = await post(
            http, ITI57, case.url("registry"), request, assertion=assertion_of(case.stage, RADIOLOGIST)
        )
    assert ITI57.decode_response(_body(answer), {}).errors == ()
    return replace(version, version=(entry.version or 1) + 1)
