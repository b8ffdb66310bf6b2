"""What the services send is right by the judge's own reading: every message on the wire, every record."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lxml import etree

from conformance.findings import Report, Severity
from conformance.validation import judge
from consumer.imaging_document_consumer import Via
from tests.support.community import (
    audit_messages,
    consumer_for,
    make_known,
    publish,
    running,
    store,
    studies_in,
    trail_until,
)
from tests.support.made_studies import made_studies
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]
#: Transactions that pass on the way, by their titles.
PASSED = {
    "ITI-18 Registry Stored Query",
    "ITI-41 Provide and Register Document Set-b",
    "ITI-42 Register Document Set-b",
    "ITI-43 Retrieve Document Set",
    "RAD-69 Retrieve Imaging Document Set",
}


@dataclass
class Passage:
    """What a walk along the whole path left behind."""

    wire: list[Report]
    records: list[Report]


@pytest.fixture(scope="module")
def passage(tmp_path_factory: pytest.TempPathFactory) -> Passage:
    folder = tmp_path_factory.mktemp("wire")
    with running(tmp_path_factory.mktemp("community"), tls=False, wire_folder=str(folder)) as stage:
        asyncio.run(_walk(stage, tmp_path_factory.mktemp("studies")))
        records = [
            judge(etree.tostring(message, encoding="UTF-8"), f"record {number}")
            for number, message in enumerate(audit_messages(stage))
        ]
    return Passage([judge(capture, name) for name, capture in _captures(folder)], records)


def _captures(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each request with its answer; what is longer than the recorder keeps is left out."""
    for request in sorted(folder.rglob("*-1-request.http")):
        answer = request.with_name(request.name.replace("-1-request", "-2-answer"))
        octets = request.read_bytes() + b"\n" + answer.read_bytes()
        if b"further octets are left out]" not in octets:
            yield request.name, octets


async def _walk(stage: Stage, folder: Path) -> None:
    studies = studies_in(made_studies(folder).folder)
    patients = sorted({study.patient for study in studies})
    await make_known(stage, *patients)
    await store(stage, studies)
    await publish(stage, *(study.uid for study in studies))
    async with consumer_for(stage, None) as consumer:
        for patient_id in sorted({study.patient_id for study in studies}):
            for entry in await consumer.find(patient_id):
                manifest = await consumer.manifest(entry)
                for via in Via:
                    to = stage.folder / "fetched" / f"{via}-{entry.unique_id}"
                    await consumer.retrieve(manifest, to, patient_id=entry.patient_id, via=via)
    await trail_until(stage, lambda records: len(records) >= 4 * len(studies))


#: Files are sent into the imaging source as they are, byte for byte, those of Implicit VR too.
AS_IT_IS = ("STOW-RS request; STOW-RS answer", "WEB-005")


def errors(reports: list[Report]) -> list[str]:
    return [
        f"{report.title}, {report.source}: {finding}"
        for report in reports
        for finding in report.findings
        if finding.severity is Severity.ERROR
        if (report.title, finding.id) != AS_IT_IS
    ]


def test_the_messages_of_the_whole_path_are_seen(passage: Passage):
    seen = {report.title.partition(",")[0] for report in passage.wire}
    assert PASSED - seen == set()


def test_no_message_on_the_wire_has_an_error(passage: Passage):
    assert "\n".join(errors(passage.wire)) == ""


def test_no_record_of_the_trail_has_an_error(passage: Passage):
    assert len(passage.records) > 10
    assert errors(passage.records) == []
