"""Over everything that is served, SOAP and REST: what a consent denies is given by no transaction, and each
record of it stays within the bounds of a record.

A transaction that is new has to say here whether it gives anything of documents or images.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest

from consumer.store import ohif
from imaging_source.settings import ImagingSourceSettings
from imaging_source.settings.entities import DimseService
from imaging_source.transactions import SERVED_DIMSE
from shared.audit.bounds import MAX_RECORD
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.ebrim.model import DocumentEntry
from shared.http.client import http_client
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti41 import ITI41, ProvideAndRegisterRequest, ProvidedDocument
from shared.messages.iti43 import RetrieveDocumentSetRequest
from shared.messages.rad69 import RetrieveImagingDocumentSetRequest, SeriesRequest, StudyRequest
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from shared.soap.transaction import SoapTransaction
from tests.support.community import post
from tests.support.consumer import token_of
from tests.support.dicom import a_ct, part10, with_pixels
from tests.support.dimse import Receiver, fetched, identifier, matched, moved
from tests.support.every_door import ENTITIES, SERVICES, SOAP, House, a_house, acquainted
from tests.support.metadata import DOMAIN, a_submission
from tests.support.reports import a_pdf, a_report_entry
from xdsi.documents import served_rest
from xdsi.import_ import import_files
from xdsi.publish import publish_studies
from xdsi.serve import Service

pytestmark = [pytest.mark.heavy]

#: Stands in the study's header, its pixels, its manifest and the entry of that.
CANARY = b"CANARY"
PATIENT = f"P1^^^&{DOMAIN}&ISO"
STUDY, SERIES, INSTANCE, SOP_CLASS = "2.25.11", "2.25.12", "2.25.13", "1.2.840.10008.5.1.4.1.1.2"
HOME = "urn:oid:2.999.1"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
#: What stands behind the path, by the number of the transaction: what it tells not of itself, and what it is
#: that is asked for.
QUERIES = {
    "RAD-129": "?includefield=AccessionNumber",
    "RAD-55": f"?requestType=WADO&studyUID={STUDY}&seriesUID={SERIES}&objectUID={INSTANCE}",
}
FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_FOR_PATIENTS = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"

#: What gives nothing of documents: why.
CHANGES = "changes what is registered or kept, and answers with a status alone"
OF_POLICIES = "tells policies and what follows from them, to those who keep them"
OF_NODES = "for nodes of the community that publish, of what they have themselves"
OF_FORMS = "forms and how they look, of which nothing is about anybody"
OF_PEOPLE = "tells who people of the community are, and nothing of a document"
OF_REPORTS = "tells what is wrong with a file, to who sent it"
OF_TESTS = "tests of somebody's system, with data that the tests made"
OF_THE_TRAIL = "the trail, which consent does not close to those who have to look at it"
GIVES_NOTHING = {
    **dict.fromkeys(
        ("ITI-41", "ITI-42", "ITI-44", "ITI-57", "ITI-61", "ITI-62", "ITI-86", "ITI-92", "RAD-108"), CHANGES
    ),
    **dict.fromkeys(
        (
            "Consent policies",
            "Set consent policy",
            "Remove consent policy",
            "Explain consent",
            *("Keep consent document", "Withdraw consent", "Preview consent", "ITI-108", "Read Consent"),
            "Break glass",
            "Breaks to review",
            "Sign off break",
            "Use assertion",
        ),
        OF_POLICIES,
    ),
    **dict.fromkeys(
        (
            *("Registrations", "Register entry", "Publish", "Manifest on demand", "Publications"),
            *("Retry publication", "Withdraw publication", "Accept what is set aside", "Erase images"),
            *("Reports", "Accept report", "Retry report", "Withdraw report"),
            *("Studies of an archive", "Migrate a study"),
        ),
        OF_NODES,
    ),
    **dict.fromkeys(
        (
            *("Source overview", "Publication list", "Find publication", "Publication", "Drift"),
            *("Send publication again", "Withdraw manifest", "Publish for patient", "Set-aside list"),
            *("Report list", "Accept report of a message", "Send report again"),
            "Withdraw report of a message",
            *("Accept instance", "Connections", "Certificates", "Load", "Doctor", "Begin examination"),
            "Progress of examination",
        ),
        "for operators, who are told how studies are published, and given nothing of them",
    ),
    **dict.fromkeys(
        ("Request storage commitment", "Check storage commitment"),
        "tells who stores of UIDs that it names whether they are kept, and nothing of them",
    ),
    **dict.fromkeys(
        (
            *("Order take-over", "Take-overs", "Progress of take-overs", "Retry take-over"),
            *("Forget take-over", "Media of take-over"),
        ),
        "orders of who asks: what is taken over is asked for at the doors of documents and images, and is "
        "given away when the registry shows its study still",
    ),
    "RAD-10": "tells who stores of UIDs that it names whether they are kept, and nothing of them",
    **dict.fromkeys(
        (
            *("Search the trail", "Record as received", "Verify the trail", "Gaps in the trail"),
            *("Export of the trail", "Holds of the trail", "Place a hold", "Release a hold"),
            *("ITI-20", "ITI-81", "ITI-82", "Read AuditEvent", "Retrieve own AuditEvents", "Capabilities"),
            *("Entrance", "Questions", "Patient", "Accesses of a patient", "Accesses of a patient as CSV"),
            *("Records", "Record", "Gaps", "Own data", "Emergencies", "Sign off emergency"),
            *("Policies", "Find policies", "Policies of a patient", "Ask why", "Explain", "New policy"),
            *(
                "Change policy draft",
                "Preview policy",
                "Save policy",
                "Policy to end",
                "End policy",
                "Policy to change",
            ),
        ),
        OF_THE_TRAIL,
    ),
    **dict.fromkeys(
        (
            *("Search form", "Search", "Sign-in form", "Sign in", "Sign out", "Style sheet"),
            *("Sign-in at a provider", "Return from a provider"),
            *("Emergency form", "Emergency", "File of the viewer", "Script", "Script that follows"),
            *("File of OHIF", "Script that begins OHIF"),
            *("Authorize", "Sign in by password", "Sign in by passkey", "Passkey script"),
        ),
        OF_FORMS,
    ),
    **dict.fromkeys(
        (
            *("ITI-71", "ITI-102", "ITI-103", "RST-Issue", "Keys of access tokens"),
            *("Set person", "List people", "Disable person", "Account", "Register passkey"),
            *("Set password", "Set app", "Forget credentials"),
        ),
        OF_PEOPLE,
    ),
    **dict.fromkeys(
        (
            *("Validate", "Validation report", "Validators"),
            *("File to judge", "Judge file", "Report", "Report as a file"),
        ),
        OF_REPORTS,
    ),
    **dict.fromkeys(
        (
            *("Actors to test", "Guide", "Begin test", "Test", "Steps of a test", "Report of a test"),
            *("Cancel test", "Answer question", "Images of the probes"),
        ),
        OF_TESTS,
    ),
    **dict.fromkeys(
        ("RAD-106", "Invocation", "Launch", "Begin launch", "Launch ticket"),
        "leads to pages, each of which asks whether it may be seen",
    ),
    "Token of a viewer": "names a study to the front, which asks whether it may be seen with every request",
}


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A house in which one study is published; `handles` lead to it at the consumer, by the name of what
    takes them."""

    house: House
    http: httpx2.AsyncClient
    entry: DocumentEntry
    location: str
    handles: dict[str, str]
    pair: tuple[str, str]
    report: str
    receiver: Receiver

    def soap_requests(self, home: str) -> dict[str, Any]:
        """A good request by the number of each transaction that gives documents; gateways need the home."""
        of_patient = {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": (APPROVED,)}
        document = DocumentRequest(
            repository_unique_id=self.entry.repository_unique_id,
            document_unique_id=self.entry.unique_id,
            home_community_id=home,
        )
        image = DocumentRequest(
            repository_unique_id=self.location, document_unique_id=INSTANCE, home_community_id=home
        )
        images = RetrieveImagingDocumentSetRequest(
            studies=(
                StudyRequest(
                    study_instance_uid=STUDY,
                    series=(SeriesRequest(series_instance_uid=SERIES, documents=(image,)),),
                ),
            ),
            transfer_syntax_uids=(EXPLICIT_LE,),
        )
        query = a_query(FIND_DOCUMENTS, of_patient)
        retrieval = RetrieveDocumentSetRequest(documents=(document,))
        return {
            "ITI-18": query,
            "ITI-38": query,
            "ITI-51": a_query(FIND_FOR_PATIENTS, {**of_patient, "$XDSDocumentEntryPatientId": (PATIENT,)}),
            "ITI-43": retrieval,
            "ITI-39": retrieval,
            "RAD-69": images,
            "RAD-75": images,
        }

    def bodies(self) -> dict[str, dict[str, Any]]:
        """A good body by the name of each REST transaction that gives documents and has one."""
        return {
            "Find studies": {"patient_id": PATIENT},
            "Open manifest": {
                "document_unique_id": self.entry.unique_id,
                "repository_unique_id": self.entry.repository_unique_id,
            },
        }

    def doors(self) -> list[tuple[str, Callable[[], Any]]]:
        """Each door that gives documents, by its name, and how it is asked for what is shared."""
        found: list[tuple[str, Callable[[], Any]]] = []
        for service, path, all_served in SOAP:
            requests = self.soap_requests(HOME if service == "gateway" else "")
            for number in dict.fromkeys(served.transaction.number for served in all_served):
                if number not in GIVES_NOTHING:
                    [transaction] = [
                        one.transaction for one in all_served if one.transaction.number == number
                    ]
                    url = self.house.url(service, path)
                    found.append((f"{number} {path}", self._posted(transaction, url, requests[number])))
        values = {
            "study": STUDY,
            "series": SERIES,
            "instance": INSTANCE,
            "bulk:path": "7FE00010",
            "frames": "1",
        }
        for service in Service:
            for served in served_rest(service):
                if (served.number or served.name) not in GIVES_NOTHING:
                    for route in served.routes:
                        method, _, path = route.partition(" ")
                        handles = {"handle": self.handles.get(served.name, ""), "report": self.report}
                        for name, value in {**values, **handles}.items():
                            path = path.replace(f"{{{name}}}", value)
                        url = self.house.url(service.value.replace("-", " "), path)
                        url += QUERIES.get(served.number, "")
                        if served.name == "Comparison":
                            url += "".join(
                                f"{sign}study={one}" for sign, one in zip("?&", self.pair, strict=True)
                            )
                        if service is Service.CONSUMER and served.number == "RAD-129":
                            # A registry knows studies by their patients; what was found can be retrieved.
                            url += f"&StudyInstanceUID={STUDY}&{urlencode({'PatientID': PATIENT})}"
                        found.append(
                            (
                                f"{service.value} {route}",
                                self._asked(method, url, self.bodies().get(served.name)),
                            )
                        )
        found += [
            (f"DIMSE {service}", self._by_dimse(service))
            for served in SERVED_DIMSE
            for service in served.services
            if served.event_type.code not in GIVES_NOTHING
        ]
        return found

    def _by_dimse(self, service: DimseService) -> Callable[[], Any]:
        port = self.house.listeners["DIMSE"]
        study = identifier("STUDY", StudyInstanceUID=STUDY)

        async def ask() -> SimpleNamespace:
            if service is DimseService.MOVE:
                self.receiver.data_sets.clear()
                await moved(port, "XDSI", self.receiver.title, study)
                return SimpleNamespace(content=b"".join(octets for _, octets in self.receiver.data_sets))
            if service is DimseService.FIND:
                matches, _, _ = await matched(port, "XDSI", identifier("STUDY", PatientName=""))
                return SimpleNamespace(content=b"".join(str(one).encode() for one in matches))
            assert service is DimseService.GET, "a service class that is new has to be asked here"
            _, data_sets = await fetched(port, "XDSI", study, [(SOP_CLASS, EXPLICIT_LE)])
            return SimpleNamespace(content=b"".join(one.PixelData for one in data_sets))

        return ask

    def _posted(self, transaction: SoapTransaction[Any, Any], url: str, request: Any) -> Callable[[], Any]:
        return lambda: post(self.http, transaction, url, request)

    def _asked(self, method: str, url: str, body: dict[str, Any] | None) -> Callable[[], Any]:
        return lambda: self.http.request(method, url, json=body)

    async def given(self) -> dict[str, bool]:
        """Whether each door gives something of the study."""
        return {name: gives(await ask()) for name, ask in self.doors()}

    async def set_policy(self, effect: str) -> None:
        answer = await self.http.post(
            self.house.url("registry", "/consent/set"), json={"patient_id": PATIENT, "effect": effect}
        )
        assert answer.status_code == 200, answer.text


def gives(answer: Any) -> bool:
    """Whether an answer has something of the study: a word of it, its pixels as an image, or that it is."""
    is_image = isinstance(answer, httpx2.Response) and answer.headers.get("content-type", "").startswith(
        "image/"
    )
    return is_image or CANARY in answer.content or f'"{STUDY}"'.encode() in answer.content


def a_query(query_id: str, parameters: dict[str, Any]) -> StoredQueryRequest:
    return StoredQueryRequest(
        query_id=query_id, return_type=ReturnType.LEAF_CLASS, parameters=encode_parameters(parameters)
    )


@asynccontextmanager
async def a_shared_study(folder: Path, **further: Any) -> AsyncIterator[Shared]:
    changes = {
        **acquainted(),
        "data": folder,
        "patients": "any",
        "affinity_domain": DOMAIN,
        "home_community_id": HOME,
        "consent": {"default": "permit", "max_age_seconds": 0},
        **further,
    }
    taken = {key: value for key, value in changes.items() if key != "data"}
    async with Receiver().listening() as receiver, a_house(folder, **entities_of(receiver, taken)) as house:
        peers = [house.url(name) for name in SERVICES]
        async with http_client(TlsSettings(), peers=peers, timeout_seconds=30) as http:
            source = house.services["imaging source"].parts.settings
            assert isinstance(source, ImagingSourceSettings)
            await published(folder, source)
            await asyncio.to_thread(pretend_ohif, folder)
            await reported(http, house.url("repository", "/xds/repository"))
            registry = house.url("registry", "/xds/registry")
            response = await SoapClient(http).call(
                ITI18,
                registry,
                a_query(
                    FIND_DOCUMENTS,
                    {"$XDSDocumentEntryPatientId": PATIENT, "$XDSDocumentEntryStatus": (APPROVED,)},
                ),
                message_id="urn:uuid:1",
            )
            [entry] = [
                one for one in response.objects.document_entries if one.mime_type == "application/dicom"
            ]
            opened = await http.post(
                house.url("consumer", "/api/manifests"),
                json={
                    "document_unique_id": entry.unique_id,
                    "repository_unique_id": entry.repository_unique_id,
                },
            )
            [series] = opened.json()["series"]
            of_instance = series["instances"][0]["href"].rpartition("/")[2]
            handles = {"Fetch instance": of_instance, "Image": of_instance}
            search, studies, report = await handles_at_the_pages(http, house.url("consumer"))
            of_study = ("Study", "Take-over form", "Viewer", "OHIF", "Thumbnail", "Images and report")
            of_report = ("Report of a patient", "Document of a report")
            yield Shared(
                pair=studies,
                report=report,
                house=house,
                http=http,
                entry=entry,
                location=source.retrieve_location_uid,
                receiver=receiver,
                handles=handles
                | {"Studies found": search}
                | dict.fromkeys(of_study, studies[0])
                | dict.fromkeys(of_report, report),
            )


def pretend_ohif(folder: Path) -> None:
    """OHIF as far as its page looks whether it is installed."""
    release = folder / "ohif" / ohif.VERSION
    release.mkdir(parents=True)
    (release / "app.bundle.0.js").touch()


def entities_of(receiver: Receiver, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings by which the receiver may be given what somebody moves."""
    caller = {**ENTITIES["XDSI"], "destinations": [receiver.title]}
    table = {"XDSI": caller, receiver.title: {"host": "127.0.0.1", "port": receiver.port}}
    return {**changes, "imaging_source": {**changes["imaging_source"], "application_entities": table}}


async def handles_at_the_pages(http: httpx2.AsyncClient, consumer: str) -> tuple[str, tuple[str, str], str]:
    """Those by which a person comes from the search form to the study, twice, and to its report."""
    token = token_of(await http.get(f"{consumer}/"))
    sent = await http.post(f"{consumer}/search", data={"token": token, "patient_id": PATIENT})
    search = sent.headers["location"]
    pages = [(await http.get(f"{consumer}{search}")).text for _ in range(2)]
    [one], [other] = (re.findall(r'href="/studies/([^"/]+)"', page) for page in pages)
    [report] = re.findall(r'href="/reports/([^"/]+)"', pages[0])
    return search.rpartition("/")[2], (one, other), report


async def reported(http: httpx2.AsyncClient, url: str) -> None:
    entry = a_report_entry(
        PATIENT, "application/pdf", "CANARY", STUDY, hash="", size=None, repository_unique_id=""
    )
    document = ProvidedDocument(id=entry.entry_uuid, content=a_pdf("CANARY"))
    request = ProvideAndRegisterRequest.of(a_submission(entry), [document])
    response = await SoapClient(http).call(ITI41, url, request, message_id="urn:uuid:2")
    assert response.errors == ()


async def published(folder: Path, source: ImagingSourceSettings) -> None:
    data_set = a_ct(PatientName="CANARY^X", AccessionNumber="CANARY", StudyDescription="CANARY")
    with_pixels(data_set, np.frombuffer((CANARY * 6)[:32], dtype=np.uint16).reshape(1, 4, 4))
    path = folder / "in.dcm"
    path.write_bytes(part10(data_set))
    imported = await import_files(source, [path])
    assert imported.refused == {}
    assert await publish_studies(source, [STUDY]) == {STUDY: "published"}


def names(all_served: Sequence[Any]) -> set[str]:
    return {served.number or served.name for served in all_served}


def test_every_transaction_says_whether_it_gives_documents():
    soap = {served.transaction.number for _, _, all_served in SOAP for served in all_served}
    rest = set().union(*(names(served_rest(service)) for service in Service))
    giving = {"ITI-18", "ITI-38", "ITI-39", "ITI-43", "ITI-51", "RAD-69", "RAD-75"}
    giving |= {"RAD-55", "RAD-107", "RAD-129", "Find studies", "Open manifest", "Fetch instance"}
    giving |= {"Studies found", "Study", "Take-over form", "Viewer", "OHIF", "Image", "Thumbnail"}
    giving |= {"Comparison", "Images and report", "Report of a patient", "Document of a report"}

    by_dimse = {served.event_type.code for served in SERVED_DIMSE}
    giving |= {"RAD-14", "RAD-16", "RAD-129"}

    assert soap | rest | by_dimse == giving | GIVES_NOTHING.keys()


async def test_what_a_consent_denies_is_given_by_no_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    records: list[bytes] = []
    messages = AuditRecorder.messages

    def seen(self: AuditRecorder, event: AuditEvent) -> tuple[bytes, ...]:
        octets = messages(self, event)
        records.extend(octets)
        return octets

    monkeypatch.setattr(AuditRecorder, "messages", seen)
    async with a_shared_study(tmp_path) as shared:
        permitted = await shared.given()
        await shared.set_policy("deny")
        before = len(records)
        denied = await shared.given()
        told = records[before:]
        await shared.set_policy("permit")

    assert permitted == dict.fromkeys(permitted, True)
    assert denied == dict.fromkeys(denied, False)
    assert len(told) >= len(denied), "not every door has recorded that it was asked"
    assert [len(octets) for octets in records if len(octets) > MAX_RECORD] == []
