"""One request through all services: one trace id in every log, and no value of the request in any line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.community import (
    StudyFiles,
    c_store,
    cx,
    http_of,
    make_known,
    publish,
    running,
    settings_of,
    store,
)
from tests.support.consumer import Running, consumer_process
from tests.support.dicom import a_ct, part10
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

CANARY = "KANARIENVOGEL"
PATIENT = f"P-{CANARY}"
STUDY = "2.25.770011"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GIVEN = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
SECONDS = 30.0


@dataclass
class House:
    stage: Stage
    consumer: Running
    study: StudyFiles

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def text(self) -> str:
        return "".join(path.read_text("utf-8", "replace") for path in self.stage.folder.rglob("*.log"))

    def answered(self, trace: str = "") -> list[dict[str, Any]]:
        """The lines of answered requests, of one trace."""
        found = [line for line in self.lines() if line["event"] == "answered"]
        return [line for line in found if trace in ("", line["trace_id"])]

    def until(self, holds: Callable[[list[dict[str, Any]]], bool], trace: str = "") -> list[dict[str, Any]]:
        """The lines as soon as they hold that: an answer comes before its line."""
        end = time.monotonic() + SECONDS
        while not holds(self.answered(trace)) and time.monotonic() < end:
            time.sleep(0.05)
        found = self.answered(trace)
        assert holds(found), found
        return found


def a_study(folder: Path) -> StudyFiles:
    files = {}
    for number in range(1, 4):
        image = a_ct(
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=f"{STUDY}.1",
            SOPInstanceUID=f"{STUDY}.1.{number}",
            PatientID=PATIENT,
            PatientName=f"{CANARY}^Otto",
            AccessionNumber=CANARY,
        )
        path = folder / f"{number}.dcm"
        path.write_bytes(part10(image))
        files[str(image.SOPInstanceUID)] = path
    return StudyFiles(STUDY, PATIENT, files)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    study = a_study(tmp_path_factory.mktemp("study"))
    with running(tmp_path_factory.mktemp("community"), tls=False) as stage:
        asyncio.run(make_known(stage, PATIENT))
        with consumer_process(stage) as consumer:
            yield House(stage, consumer, study)


async def test_what_comes_by_dimse_and_mllp_is_a_line_each_and_one_trace_of_an_association(house: House):
    c_store(house.stage, list(house.study.files.values()))

    def all_stored(lines: list[dict[str, Any]]) -> bool:
        return len([line for line in lines if line["transaction"] == "RAD-18"]) >= len(house.study.files)

    stored = [one for one in house.until(all_stored) if one["transaction"] == "RAD-18"]
    fed = [one for one in house.answered() if one["transaction"] == "ITI-8"]
    assert {(one["door"], one["outcome"], one["service"]) for one in stored} == {
        ("DIMSE", "success", "imaging-source")
    }
    assert len({one["trace_id"] for one in stored}) == 1
    assert {(one["door"], one["outcome"], one["service"]) for one in fed} == {("MLLP", "success", "registry")}


async def test_a_publication_is_one_trace_from_manifest_to_registry(house: House):
    await store(house.stage, [house.study])
    await publish(house.stage, STUDY)

    def registered(lines: list[dict[str, Any]]) -> bool:
        return any(line["transaction"] == "ITI-42" for line in lines)

    (submitted,) = [one for one in house.until(registered) if one["transaction"] == "ITI-42"]
    provided = [one for one in house.answered(submitted["trace_id"]) if one["service"] == "repository"]
    assert [one["transaction"] for one in provided] == ["ITI-41"]
    told = [line for line in house.lines() if line["event"] == "publication"]
    assert submitted["trace_id"] in {line["trace_id"] for line in told}


async def test_a_request_to_the_consumer_is_one_trace_in_every_service(house: House):
    # Not by our own client, which would send a trace of its own.
    url = house.consumer.url
    async with httpx2.AsyncClient(base_url=url, headers=GIVEN, trust_env=False, timeout=60) as program:
        (study,) = (await program.post("/api/studies", json={"patient_id": PATIENT})).json()["studies"]
        named = {name: study[name] for name in ("document_unique_id", "repository_unique_id")}
        manifest = (await program.post("/api/manifests", json=named)).json()
        instance = manifest["series"][0]["instances"][0]
        assert (await program.get(instance["href"])).status_code == 200

    wanted = {
        ("registry", "ITI-18"),
        ("repository", "ITI-43"),
        ("imaging-source", "RAD-69"),
    }

    def whole(lines: list[dict[str, Any]]) -> bool:
        return wanted <= {(line["service"], line["transaction"]) for line in lines}

    lines = house.until(whole, TRACE)
    assert {line["outcome"] for line in lines} == {"success"}
    assert all(line["milliseconds"] > 0 for line in lines)
    own = {line["resource"] for line in lines if line["service"] == "consumer"}
    assert {"POST /api/studies", "POST /api/manifests"} <= own
    # What consent asked of the registry is in it as well.
    asked = {line["transaction"] for line in lines if line["service"] == "registry"}
    assert len(asked) > 1, asked


async def test_a_refused_request_is_a_line_with_its_outcome(house: House):
    async with http_of(house.stage) as http:
        registry = settings_of(house.stage, Service.REGISTRY).registry_url
        answer = await http.post(
            registry, content=f"<{CANARY}/>", headers={"content-type": "application/soap+xml"}
        )
    assert answer.status_code >= 400
    lines = house.until(lambda lines: any(line["outcome"] == "fault" for line in lines))
    assert {line["service"] for line in lines if line["outcome"] == "fault"} >= {"registry"}


async def test_no_line_of_any_service_holds_a_value_of_the_patient(house: House):
    """The last one: it looks at what all the others left."""
    text = house.text()
    assert len(house.answered()) > 10
    for value in (CANARY, CANARY.lower(), PATIENT, cx(PATIENT), STUDY, *house.study.files):
        assert value not in text
