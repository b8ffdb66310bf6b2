"""The plan of a consumer finds one that believes whatever comes."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import httpx2
import pytest

from conformance.plans.consumer.driving import Driver, driver
from conformance.plans.consumer.retrieving import PLAN
from conformance.plans.probe import NotOffered, Outcome
from conformance.plans.run import run
from conformance.plans.stand import Stand, Target
from conformance.simulators.server import HttpAnswer, HttpRequest, http_simulator
from conformance.simulators.world import MANIFEST, REPOSITORY, SERIES, World
from xdsi.stage import free_ports

QUERY = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing"
 xmlns:q="urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
 xmlns:r="urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0">
 <s:Header><a:Action>urn:ihe:iti:2007:RegistryStoredQuery</a:Action><a:MessageID>urn:uuid:1</a:MessageID></s:Header>
 <s:Body><q:AdhocQueryRequest><q:ResponseOption returnType="LeafClass"/>
 <r:AdhocQuery id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d">
 <r:Slot name="$XDSDocumentEntryPatientId"><r:ValueList><r:Value>'P-1'</r:Value></r:ValueList></r:Slot>
 </r:AdhocQuery></q:AdhocQueryRequest></s:Body></s:Envelope>"""
RETRIEVE = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing"
 xmlns:x="urn:ihe:iti:xds-b:2007"><s:Header><a:Action>urn:ihe:iti:2007:RetrieveDocumentSet</a:Action></s:Header>
 <s:Body><x:RetrieveDocumentSetRequest><x:DocumentRequest><x:RepositoryUniqueId>%s</x:RepositoryUniqueId>
 <x:DocumentUniqueId>%s</x:DocumentUniqueId></x:DocumentRequest></x:RetrieveDocumentSetRequest></s:Body></s:Envelope>"""


class Credulous:
    """A consumer that checks nothing, behind the interface by which the plan drives this product's."""

    def __init__(self, base: str, client: httpx2.Client) -> None:
        self._peers = base
        self._client = client

    def handle(self, request: HttpRequest) -> HttpAnswer:
        try:
            return HttpAnswer(self._answer(request), "application/json")
        except (httpx2.HTTPError, IndexError):
            return HttpAnswer(b"", "text/plain", 502)

    def _answer(self, request: HttpRequest) -> bytes:
        if request.path == "/api/studies":
            self._post("/xds/registry", QUERY)
            return json.dumps({"studies": [{"document_unique_id": MANIFEST}]}).encode()
        if request.path == "/api/manifests":
            text = self._post("/xds/repository", RETRIEVE % (REPOSITORY, MANIFEST)).decode("latin-1")
            for host in re.findall(r"http://[0-9.:]+/dicomweb", text):
                self._client.get(f"{host}/studies/2.25.500")
            uids = [uid for of_series in SERIES.values() for uid in of_series]
            instances = [{"href": f"/api/instances/{uid}"} for uid in uids]
            return json.dumps({"series": [{"instances": instances}]}).encode()
        uid = request.path.rpartition("/")[2]
        series = next(series for series, uids in SERIES.items() if uid in uids)
        path = f"/dicomweb/studies/2.25.500/series/{series}/instances/{uid}"
        answer = self._client.get(self._peers + path, headers={"Accept": "image/jpeg"})
        return answer.content.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n--simulator--\r\n")

    def _post(self, path: str, message: str) -> bytes:
        return self._client.post(self._peers + path, content=message.encode()).content


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    (port,) = free_ports(1)
    with (
        httpx2.Client(trust_env=False, follow_redirects=True, timeout=5) as client,
        http_simulator(Credulous(f"http://127.0.0.1:{port}", client).handle) as consumer,
    ):
        target = Target(endpoints={"consumer": consumer.url}, peers=f"127.0.0.1:{port}")
        verdicts = run(PLAN, target, tmp_path_factory.mktemp("consumer")).verdicts
    return {one.probe.id: one.outcome for one in verdicts}


@pytest.mark.parametrize(
    "id",
    [
        "CON-18-02",
        "CON-18-04",
        "CON-18-102",
        "CON-18-103",
        "CON-18-104",
        "CON-43-02",
        "CON-69-101",
        "CON-107-102",
        "CON-ERR-101",
        "CON-ERR-109",
        "CON-ERR-117",
        "CON-ERR-121",
        "CON-ERR-201",
        "CON-SEC-101",
        "CON-SEC-102",
    ],
)
def test_a_consumer_that_believes_whatever_comes_is_found(outcomes: dict[str, Outcome], id: str):
    assert outcomes[id] is Outcome.FAILED


def test_what_it_does_rightly_is_told_too(outcomes: dict[str, Outcome]):
    assert outcomes["CON-18-101"] is Outcome.PASSED
    assert outcomes["CON-43-101"] is Outcome.PASSED
    assert outcomes["CON-107-103"] is Outcome.PASSED


def test_without_peers_nothing_is_asked(tmp_path: Path):
    target = Target(endpoints={"consumer": "http://127.0.0.1:9"})

    assert {one.outcome for one in run(PLAN, target, tmp_path).verdicts} == {Outcome.NOT_OFFERED}


# --- how a consumer is made to act ----------------------------------------------------------------------

SCRIPT = """
import pathlib, sys
verb, patient, *more = sys.argv[1:]
if verb == "fetch":
    manifest, repository, folder = more
    (pathlib.Path(folder) / "one.dcm").write_bytes(f"{patient} {manifest} {repository}".encode())
sys.exit(0 if patient.startswith("P-1^^^&") else 1)
"""


def _driver(consumer: str, folder: Path) -> Driver:
    stand = Stand(Target(endpoints={"consumer": consumer}), folder)
    stand.close()
    return driver(stand, lambda: "")


def test_a_command_is_called_with_the_patient_and_its_files_are_the_images(tmp_path: Path):
    script = tmp_path / "drive.py"
    script.write_text(SCRIPT)
    driving = _driver(f"exec:{sys.executable} {script}", tmp_path)
    world, other = World("1.2.3"), World("1.2.3", patient="P-2")

    assert driving.find(world)
    assert driving.fetch(world) == [f"P-1^^^&1.2.3&ISO {MANIFEST} {REPOSITORY}".encode()]
    assert not driving.find(other)
    assert driving.fetch(other) == []


def test_a_person_says_what_came_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nn\n"))
    driving = _driver("person", tmp_path)

    assert driving.find(World("1.2.3"))
    assert driving.fetch(World("1.2.3")) == []


def test_what_is_no_way_to_make_it_act_is_told(tmp_path: Path):
    with pytest.raises(NotOffered, match="exec:COMMAND"):
        _driver("somehow", tmp_path)
