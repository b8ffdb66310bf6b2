"""The consumer as a service in a whole community: find, open, fetch by programs and in a browser.

Real processes; with mutual TLS and signed assertions where programs and refusals are looked at, without where
a browser is: Chromium then needs no certificate.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pydicom
import pytest

from consumer.domain.clinician import Clinician
from consumer.settings import ConsumerSettings
from shared.http.client import http_client
from tests.support.assertions import edited
from tests.support.community import (
    CLERK,
    RADIOLOGIST,
    StudyFiles,
    assertion_of,
    audit_messages,
    cx,
    make_known,
    permit,
    publish,
    running,
    settings_of,
    store,
    studies_in,
    trail_until,
)
from tests.support.consumer import Running, consumer_process, saml, search
from tests.support.trail import of_transaction, told
from tests.support.viewing import Onlooker
from xdsi.builtin_study import write_study
from xdsi.certificates import Community, create_community
from xdsi.consent import ask_registry
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

SEEN, HIDDEN, WITHDRAWN, LARGE = "SEEN-1", "HIDDEN-1", "WITHDRAWN-1", "LARGE-1"
MEBIBYTE = 1024**2


@dataclass
class House:
    """A community, its consumer service, and the studies that are published in it."""

    stage: Stage
    consumer: Running
    studies: dict[str, StudyFiles]

    def client(self, who: Community | None = None) -> httpx2.AsyncClient:
        """An HTTP client at a node of `who`, of South when not said."""
        tls = self.stage.load(ConsumerSettings, who or self.stage.south).tls
        client = http_client(tls, peers=(self.consumer.url,), timeout_seconds=60)
        client.base_url = httpx2.URL(self.consumer.url)
        return client

    def headers(self, clinician: Clinician = RADIOLOGIST) -> dict[str, str]:
        return saml(assertion_of(self.stage, clinician)) if self.stage.tls else {}

    @property
    def log(self) -> str:
        return self.consumer.process.log.read_text("utf-8")


async def prepared(stage: Stage, studies: dict[str, StudyFiles], *seen: str) -> None:
    await make_known(stage, *studies)
    await store(stage, list(studies.values()))
    await publish(stage, *(study.uid for study in studies.values()))
    await permit(stage, *seen)


def a_study(folder: Path, patient: str, **attributes: Any) -> StudyFiles:
    """The built-in study for another patient."""
    for path in write_study(folder):
        image = pydicom.dcmread(path)
        image.PatientID = patient
        for name, value in attributes.items():
            setattr(image, name, value)
        image.save_as(path, enforce_file_format=True)
    (study,) = studies_in(folder)
    return study


def a_large_study(folder: Path, size: int) -> StudyFiles:
    """One instance of `size` bytes."""
    first, *others = write_study(folder)
    for path in others:
        path.unlink()
    image = pydicom.dcmread(first)
    frames = size // (512 * 512 * 2)
    image.PatientID = LARGE
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    image.Rows = image.Columns = 512
    image.NumberOfFrames = frames
    image.PixelData = np.random.default_rng(1).bytes(frames * 512 * 512 * 2)
    image.save_as(first, enforce_file_format=True)
    (study,) = studies_in(folder)
    return study


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, long: bool) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("studies")
    studies = {patient: a_study(folder / patient, patient) for patient in (SEEN, HIDDEN, WITHDRAWN)}
    studies[LARGE] = a_large_study(folder / LARGE, (1024 if long else 200) * MEBIBYTE)
    with running(tmp_path_factory.mktemp("community"), consent={"max_age_seconds": 0}) as stage:
        asyncio.run(prepared(stage, studies, SEEN, WITHDRAWN, LARGE))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, studies)


async def found(program: httpx2.AsyncClient, patient: str, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await program.post("/api/studies", json={"patient_id": patient}, headers=headers)
    assert answer.status_code == 200, answer.text
    studies: list[dict[str, Any]] = answer.json()["studies"]
    return studies


def named(study: dict[str, Any]) -> dict[str, str]:
    return {name: study[name] for name in ("document_unique_id", "repository_unique_id")}


async def opened(program: httpx2.AsyncClient, patient: str, headers: dict[str, str]) -> dict[str, Any]:
    """The manifest of the one study of a patient."""
    (study,) = await found(program, patient, headers)
    answer = await program.post("/api/manifests", json=named(study), headers=headers)
    assert answer.status_code == 200, answer.text
    manifest: dict[str, Any] = answer.json()
    return manifest


# --- programs ----------------------------------------------------------------------------------------


async def test_every_instance_of_a_found_study_comes_byte_for_byte(house: House):
    headers, study = house.headers(), house.studies[SEEN]
    async with house.client() as program:
        manifest = await opened(program, SEEN, headers)
        instances = [one for series in manifest["series"] for one in series["instances"]]
        came = {one["sop_instance_uid"]: await program.get(one["href"], headers=headers) for one in instances}

    assert manifest["study"]["study_instance_uid"] == study.uid
    assert came.keys() == study.files.keys()
    # The preamble is not part of an instance and not kept (PS3.10 7.1).
    assert all(came[uid].content[128:] == path.read_bytes()[128:] for uid, path in study.files.items())
    (types,) = {answer.headers["content-type"] for answer in came.values()}
    assert types == "application/dicom"
    assert all(answer.headers["content-disposition"].startswith("attachment") for answer in came.values())


async def test_every_step_is_in_the_trail_with_the_user_on_both_sides(house: House):
    headers, clinician = house.headers(), f"<{RADIOLOGIST.name_id}@{house.stage.south.issuer}>"
    async with house.client() as program:
        manifest = await opened(program, SEEN, headers)
        await program.get(manifest["series"][0]["instances"][0]["href"], headers=headers)
    steps = {"ITI-18": "110112", "ITI-43": "110107", "RAD-69": "110103"}

    def whole(records: list[dict[str, Any]]) -> bool:
        own = {
            code["code"]
            for record in records
            if record["source"] == "xdsi-consumer"
            for code in record["types"]
        }
        return steps.keys() <= own

    await trail_until(house.stage, whole)
    messages = [told(message) for message in audit_messages(house.stage)]
    for transaction, event in steps.items():
        own = [one for one in of_transaction(messages, transaction, "xdsi-consumer") if one.outcome == 0]
        assert own, transaction
        assert {one.event for one in own} == {event}
        assert {one.humans for one in own} == {(clinician,)}
        if transaction != "ITI-18":  # by a document's id the registry is asked without a patient
            assert {patient for one in own for patient in one.patients} <= set(map(cx, house.studies))


async def test_whom_consent_refuses_sees_nothing_as_if_there_were_nothing(house: House):
    radiologist, clerk = house.headers(), house.headers(CLERK)
    async with house.client() as program:
        (study,) = await found(program, SEEN, radiologist)
        hidden = await found(program, HIDDEN, radiologist)
        to_clerk = await found(program, SEEN, clerk)
        refused = await program.post("/api/manifests", json=named(study), headers=clerk)
        unknown = await program.post(
            "/api/manifests", json=named(study) | {"document_unique_id": "2.25.404"}, headers=clerk
        )

    assert (hidden, to_clerk) == ([], [])
    assert (refused.status_code, unknown.status_code) == (404, 404)
    assert refused.content == unknown.content


async def test_a_handle_is_for_its_user_and_node_alone_and_only_while_consent_holds(house: House):
    stage, headers = house.stage, house.headers()
    async with house.client() as program, house.client(stage.north) as elsewhere:
        manifest = await opened(program, WITHDRAWN, headers)
        href = manifest["series"][0]["instances"][0]["href"]
        made_up = await program.get("/api/instances/AAAA", headers=headers)
        of_clerk = await program.get(href, headers=house.headers(CLERK))
        of_other_node = await elsewhere.get(href, headers=headers)
        renewed = await program.get(href, headers=house.headers())
        settings = settings_of(stage, Service.REGISTRY)
        await ask_registry(settings, "set", {"patient_id": cx(WITHDRAWN), "effect": "deny"})
        withdrawn = await program.get(href, headers=headers)

    assert renewed.status_code == 200
    assert [one.status_code for one in (made_up, of_clerk, of_other_node, withdrawn)] == [404] * 4
    assert len({one.content for one in (made_up, of_clerk, of_other_node, withdrawn)}) == 1


async def test_no_forged_and_expired_assertions_are_refused_and_in_the_trail(house: House, tmp_path: Path):
    good = assertion_of(house.stage)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    stranger = create_community(tmp_path, "Stranger")
    bad = (
        {},
        saml(edited(good, b"dr.south", b"dr.north")),
        saml(assertion_of(house.stage, not_before=yesterday)),
        saml(assertion_of(house.stage, provider=stranger)),
    )
    before = len(await failures(house, 0))
    async with house.client() as program:
        answers = [
            await program.post("/api/studies", json={"patient_id": SEEN}, headers=headers) for headers in bad
        ]

    assert [answer.status_code for answer in answers] == [401] * len(bad)
    assert len(await failures(house, before + len(bad))) == before + len(bad)


async def failures(house: House, expected: int) -> list[dict[str, Any]]:
    """The records by which the consumer says that a user was not authenticated."""

    def of_consumer(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [record for record in records if record["source"] == "xdsi-consumer"]

    records = await trail_until(
        house.stage, lambda records: len(of_consumer(records)) >= expected, type="110122", outcome="failure"
    )
    return of_consumer(records)


async def test_a_node_without_a_certificate_is_not_even_heard(house: House):
    async with httpx2.AsyncClient(verify=False) as nobody:
        with pytest.raises(httpx2.HTTPError):
            await nobody.get(f"{house.consumer.url}/")


async def test_no_patient_is_named_in_the_log_or_in_the_metrics(house: House):
    async with house.client() as program:
        await opened(program, SEEN, house.headers())
        metrics = (await program.get("/metrics")).text

    for canary in (SEEN, HIDDEN, "Phantom"):
        assert canary not in house.log
        assert canary not in metrics


def status_of(pid: int, name: str) -> int:
    """A line of the process' status, in bytes."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


async def test_memory_does_not_grow_with_an_instance_and_nothing_is_left_behind(house: House):
    headers = house.headers()
    (path,) = house.studies[LARGE].files.values()
    pid = house.consumer.process.pid
    async with house.client() as program:
        manifest = await opened(program, LARGE, headers)
        href = manifest["series"][0]["instances"][0]["href"]
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        before = status_of(pid, "VmRSS")
        equal = await same_bytes(program, href, headers, path)
        risen = status_of(pid, "VmHWM") - before

    assert equal
    assert path.stat().st_size > 190 * MEBIBYTE
    assert risen < 48 * MEBIBYTE, f"{risen / MEBIBYTE:.0f} MiB"
    folder = house.stage.load(ConsumerSettings, house.stage.south).folder / "incoming"
    assert list(folder.iterdir()) == []


async def same_bytes(program: httpx2.AsyncClient, href: str, headers: dict[str, str], path: Path) -> bool:
    offset, equal = 0, True
    with path.open("rb") as file:
        async with program.stream("GET", href, headers=headers) as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_raw():
                expected = file.read(len(chunk))
                skipped = max(0, 128 - offset)
                equal = equal and chunk[skipped:] == expected[skipped:]
                offset += len(chunk)
        return equal and offset == path.stat().st_size


# --- in a browser ------------------------------------------------------------------------------------

MARK = "data-executed"
RUN = f"document.documentElement.setAttribute('{MARK}',1)"
CORPUS = {
    "StudyDescription": f'<img src=x onerror="{RUN}">',
    "PatientName": f"<script>{RUN}</script>",
    "AccessionNumber": "<svg onload=a()>",
}


@pytest.fixture(scope="module")
def open_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Without TLS, with a study whose attributes are scripts."""
    study = a_study(tmp_path_factory.mktemp("studies") / "xss", "XSS-1", **CORPUS)
    with running(tmp_path_factory.mktemp("community"), tls=False) as stage:
        asyncio.run(prepared(stage, {"XSS-1": study}))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, {"XSS-1": study})


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_scripts_in_displayed_attributes_never_run(
    open_house: House, onlooker: Onlooker, tmp_path: Path
):
    async with open_house.client() as browser:
        found = (await search(browser, "XSS-1")).headers["location"]
        (study,) = set(re.findall(r'href="(/studies/[^"/]+)"', (await browser.get(found)).text))
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><p>{CORPUS['StudyDescription']}</p>{CORPUS['PatientName']}")
    url = open_house.consumer.url
    executed, studies, images = await onlooker.sees(
        lambda tab: [tab.document(at) for at in (control.as_uri(), f"{url}{found}", f"{url}{study}")]
    )

    assert f'{MARK}="1"' in executed
    for page in (studies, images):
        assert "&lt;img src=x onerror" in page
        assert f'{MARK}="1"' not in page
    assert "&lt;script&gt;" in images


@pytest.mark.peer
async def test_a_study_is_opened_and_downloaded_by_links_alone(open_house: House, onlooker: Onlooker):
    (study,) = open_house.studies.values()
    async with open_house.client() as browser:
        page = await browser.get((await search(browser, "XSS-1")).headers["location"])
        (address,) = re.findall(r'href="(/studies/[^"/]+)"', page.text)
        shown = await onlooker.sees(lambda tab: tab.document(f"{open_house.consumer.url}{address}"))
        links = re.findall(r'href="(/instances/[^"]+)" download', " ".join(shown.split()))
        files = [await browser.get(link) for link in links]

    assert sorted(file.content[128:] for file in files) == sorted(
        path.read_bytes()[128:] for path in study.files.values()
    )


async def test_peers_that_are_away_are_told_by_their_part_and_recorded_as_failures(open_house: House):
    """The last test of this house: its imaging source and repository are gone then."""
    async with open_house.client() as program:
        (study,) = await found(program, "XSS-1", {})
        manifest = (await program.post("/api/manifests", json=named(study))).json()
        for service in (Service.IMAGING_SOURCE, Service.REPOSITORY):
            process = open_house.stage.process(service)
            process.terminate()
            assert await asyncio.to_thread(process.wait_stopped) == 0
        image = await program.get(manifest["series"][0]["instances"][0]["href"])
        document = await program.post("/api/manifests", json=named(study))

    assert (image.status_code, document.status_code) == (503, 503)
    assert image.json()["detail"] == "the imaging source cannot be reached now; try again later"
    assert document.json()["detail"] == "the repository cannot be reached now; try again later"
    failed = await trail_until(
        open_house.stage, lambda records: len(records) >= 2, source="xdsi-consumer", outcome="failure"
    )
    assert {code["code"] for record in failed for code in record["types"]} == {"RAD-69", "ITI-43"}
