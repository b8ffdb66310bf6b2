"""Reports that messages bring are registered beside the manifest of their study: source, repository and
registry over sockets (RAD TF-2 4.128; RAD TF-3 4.68)."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from consumer.domain import reports as consumer_reports
from consumer.pages.reports import read_report
from imaging_source.domain.imaging_reports import ReportObstacle, ReportState
from imaging_source.settings.reports import ReportSettings
from imaging_source.store import imaging_reports
from imaging_source.store.imaging_reports import ReportRow
from imaging_source.transactions.erasure import erase
from imaging_source.transactions.rad13 import OrderReceiver
from imaging_source.transactions.rad68 import withdraw
from shared.ebrim.model import AssociationType, DocumentEntry
from shared.messages.documents import DocumentRequest
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.security.caller import Caller, Node
from shared.xml import NS, parse
from tests.support.orders import IMPRESSION, encapsulated, mdm, oru
from tests.support.publishing_rig import (
    APPROVED,
    DEPRECATED,
    GET_ASSOCIATIONS,
    PublishingRig,
    a_publishing_rig,
)
from tests.support.reports import a_cda, a_pdf

STUDY = "2.25.11"
OURS = "P1^^^NORTH"
HERE = Node(address="127.0.0.1")
ACCESSION = "^urn:ihe:iti:xds:2013:accession"


@dataclass
class Department:
    """The three services, and a department that sends messages."""

    rig: PublishingRig
    receiver: OrderReceiver

    async def says(self, octets: bytes) -> str:
        return (await self.receiver.acknowledge(octets, HERE)).decode()

    async def sends(self, octets: bytes) -> None:
        """Have a message acknowledged, and done what follows of it."""
        answer = await self.says(octets)
        assert "\rMSA|AA|" in answer, answer
        await self.settle()

    async def settle(self) -> None:
        await self.rig.settle()
        for _ in range(6):
            await self.rig.source.reports.turn()

    async def publish(self, study: str = STUDY, patient: str = "P1", **changes: str) -> str:
        """An image of a study whose manifest is registered."""
        uid = await self.rig.image(study, patient, AccessionNumber="ACC1001", **changes)
        await self.rig.publish(study)
        await self.settle()
        return uid

    async def reports(self, status: str = APPROVED, patient: str = "P1") -> list[DocumentEntry]:
        entries = await self.rig.entries(patient, [status])
        return [one for one in entries if one.mime_type != "application/dicom"]

    async def manifest(self, patient: str = "P1") -> DocumentEntry:
        [entry] = [
            one for one in await self.rig.entries(patient, [APPROVED]) if one.mime_type == "application/dicom"
        ]
        return entry

    async def rows(self) -> list[ReportRow]:
        return await imaging_reports.find_reports(self.rig.source.parts.database)

    async def document(self, entry: DocumentEntry) -> bytes:
        asked = DocumentRequest(
            repository_unique_id=entry.repository_unique_id, document_unique_id=entry.unique_id
        )
        request = RetrieveDocumentSetRequest(documents=(asked,))
        response = await self.rig.client.call(ITI43, self.rig.repository_url, request)
        [document] = response.documents
        return await asyncio.to_thread(document.content.path.read_bytes)

    async def related(self, entry: DocumentEntry) -> set[tuple[AssociationType, str]]:
        """What an entry is to others."""
        request = StoredQueryRequest(
            query_id=GET_ASSOCIATIONS,
            return_type=ReturnType.LEAF_CLASS,
            parameters=encode_parameters({"$uuid": [entry.entry_uuid]}),
        )
        found = (await self.rig.client.call(ITI18, self.rig.registry_url, request)).objects.associations
        return {
            (one.association_type, one.target_object)
            for one in found
            if one.source_object == entry.entry_uuid
        }


def a_department(rig: PublishingRig, **reports: object) -> Department:
    parts = rig.source.parts
    # Anew, as what a value has made of itself is copied with it.
    before = parts.settings.publishing.reports
    same = {name: getattr(before, name) for name in ReportSettings.model_fields}
    changed = ReportSettings(**(same | reports))
    publishing = parts.settings.publishing.model_copy(update={"reports": changed})
    for holder in (rig.source, rig.source.reports):
        name = "parts" if holder is rig.source else "_parts"
        setattr(
            holder,
            name,
            replace(parts, settings=parts.settings.model_copy(update={"publishing": publishing})),
        )
    return Department(rig, OrderReceiver(parts=rig.source.parts, host="source.example"))


@pytest.fixture
async def department(tmp_path) -> AsyncIterator[Department]:
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        yield a_department(rig)


async def test_a_pdf_is_registered_beside_the_manifest_of_its_study(department):
    await department.publish()

    await department.sends(oru(patient=OURS, observations=[encapsulated(a_pdf())]))

    [report] = await department.reports()
    manifest = await department.manifest()
    assert await department.document(report) == a_pdf()
    assert (report.mime_type, report.format_code.value) == ("application/pdf", "urn:ihe:rad:PDF")
    assert report.format_code.scheme == "1.3.6.1.4.1.19376.1.2.3"
    assert report.class_code.value == "REPORTS"
    assert set(manifest.reference_ids) < set(report.reference_ids), "in the same words"
    assert any(one.startswith("PO-31^^^") for one in report.reference_ids), "the order that it names"
    assert report.service_start_time == manifest.service_start_time
    assert report.event_codes == manifest.event_codes
    assert report.creation_time.digits == "20260302105500", "the time of the report, in UTC"
    assert report.authors[0].person == report.legal_authenticator == "4711^Beck^Olaf"
    assert report.title == "CT head"
    assert (AssociationType.APND, manifest.entry_uuid) in await department.related(report)


async def test_a_text_is_wrapped_in_a_cda_document(department):
    await department.publish()

    await department.sends(
        oru(
            patient=OURS,
            observations=[
                r"OBX|2|TX|18782-3^Findings^LN||Nothing \T\ nobody.\.br\Second line.||||||F",
                "OBX|3|FT|19005-8^Impression^LN||No meningioma~Müller <b>||||||F",
            ],
        )
    )

    [report] = await department.reports()
    root = parse(await department.document(report))
    body = root.find("hl7:component/hl7:nonXMLBody/hl7:text", NS)
    assert report.format_code.value == "urn:ihe:rad:TEXT"
    assert root.find("hl7:id", NS).get("root") == report.unique_id
    assert root.find("hl7:effectiveTime", NS).get("value") == f"{report.creation_time}+0000"
    assert root.find("hl7:recordTarget/hl7:patientRole/hl7:id", NS).get("extension") == "P1"
    assert b64decode("".join(body.itertext())).decode() == (
        "Findings\nNothing & nobody.\nSecond line.\n\nImpression\nNo meningioma\nMüller <b>"
    )


async def test_a_cda_document_is_registered_as_it_is(department):
    await department.publish()
    cda = a_cda("<paragraph>No fracture.</paragraph>", title="CT of the head")

    await department.sends(mdm(patient=OURS, observation=encapsulated(cda, "text^x-hl7-cda-level-one")))

    [report] = await department.reports()
    assert await department.document(report) == cda
    assert report.unique_id == "2.25.1", "ClinicalDocument.id"
    assert report.format_code.value == "urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013"
    assert (report.title, report.creation_time.digits) == ("CT of the head", "20260301091500")


async def test_the_number_of_a_document_is_its_unique_id_where_it_is_an_oid(department):
    await department.publish()

    await department.sends(mdm(patient=OURS, number="55^RM^2.999.14^ISO"))

    assert [one.unique_id for one in await department.reports()] == ["2.999.14.55"]


async def test_a_report_waits_for_the_images_of_its_study(department):
    await department.sends(oru(patient=OURS, study="", accession="ACC1001"))
    [row] = await department.rows()
    assert (row.state, row.obstacle) == (ReportState.WAITING, ReportObstacle.NO_STUDY)

    await department.rig.image(STUDY, "P1", AccessionNumber="ACC1001")
    await department.rig.source.parts.database.write(
        lambda transaction: imaging_reports.look_again(transaction, STUDY, 1)
    )
    await department.settle()
    [row] = await department.rows()
    assert row.obstacle is ReportObstacle.NO_MANIFEST

    await department.rig.publish(STUDY)
    await department.settle()

    assert len(await department.reports()) == 1


async def test_the_same_report_twice_is_one_document(department):
    await department.publish()

    for control_id in ("C1", "C1", "C2"):
        await department.sends(oru(patient=OURS, control_id=control_id))

    assert len(await department.reports()) == 1
    assert len(await department.rows()) == 1


async def test_a_corrected_report_takes_the_place_of_the_former(department):
    await department.publish()
    await department.sends(oru(patient=OURS, observations=[encapsulated(a_pdf("A fracture."))]))
    [former] = await department.reports()

    await department.sends(
        oru("C", patient=OURS, control_id="C2", observations=[encapsulated(a_pdf("No fracture."))])
    )

    [report] = await department.reports()
    assert await department.document(report) == a_pdf("No fracture.")
    assert (AssociationType.RPLC, former.entry_uuid) in await department.related(report)
    assert [one.entry_uuid for one in await department.reports(DEPRECATED)] == [former.entry_uuid]


async def test_a_correction_before_anything_is_registered_is_registered_alone(department):
    await department.sends(oru(patient=OURS))
    await department.sends(
        oru(
            "C",
            patient=OURS,
            control_id="C2",
            observations=["OBX|2|TX|19005-8^Impression^LN||A meningioma.||||||C"],
        )
    )

    await department.publish()

    [report] = await department.reports()
    assert await department.reports(DEPRECATED) == []
    assert {one.state for one in await department.rows()} == {ReportState.PUBLISHED, ReportState.REPLACED}
    assert report.entry_uuid in {one.entry_uuid for one in await department.rows()}


async def test_a_first_version_that_comes_late_changes_nothing(department):
    await department.publish()
    second = oru("C", patient=OURS, control_id="C2", observations=[encapsulated(a_pdf("Two"), status="C")])
    await department.sends(oru(patient=OURS, observations=[encapsulated(a_pdf("One"))]))
    await department.sends(second)

    await department.sends(oru(patient=OURS, control_id="C3", observations=[encapsulated(a_pdf("One"))]))

    [report] = await department.reports()
    assert await department.document(report) == a_pdf("Two")


@pytest.mark.parametrize(
    "cancels",
    [
        oru("X", patient=OURS, control_id="C2", observations=[]),
        oru(patient=OURS, control_id="C2", observations=[encapsulated(a_pdf(), status="D")]),
    ],
    ids=["result", "observation"],
)
async def test_a_cancelled_report_is_withdrawn(department, cancels: bytes):
    await department.publish()
    await department.sends(oru(patient=OURS))

    await department.sends(cancels)

    assert await department.reports() == []
    assert len(await department.reports(DEPRECATED)) == 1
    assert [one.state for one in await department.rows()] == [ReportState.WITHDRAWN]


async def test_a_cancelled_document_is_withdrawn(department):
    await department.publish()
    await department.sends(mdm(patient=OURS))

    await department.sends(mdm("T11", patient=OURS, control_id="C2"))

    assert await department.reports() == []


async def test_a_document_replaces_the_one_that_it_names(department):
    await department.publish()
    await department.sends(mdm(patient=OURS))
    second = {"number": "56^RM^2.999.14^ISO", "parent": "55^RM^2.999.14^ISO"}
    await department.sends(
        mdm("T10", patient=OURS, control_id="C2", observation=encapsulated(a_pdf("Two")), **second)
    )
    third = {"number": "57^RM^2.999.14^ISO", "parent": "56^RM^2.999.14^ISO"}
    await department.sends(
        mdm("T10", patient=OURS, control_id="C3", observation=encapsulated(a_pdf("Three")), **third)
    )

    assert [one.unique_id for one in await department.reports()] == ["2.999.14.57"]

    await department.sends(mdm("T11", patient=OURS, control_id="C4", number="57^RM^2.999.14^ISO"))
    assert await department.reports() == []


async def test_an_addendum_is_appended_to_its_report_and_follows_it(department):
    await department.publish()
    await department.sends(mdm(patient=OURS))
    await department.sends(
        mdm(
            "T06",
            patient=OURS,
            control_id="C2",
            number="56^RM^2.999.14^ISO",
            parent="55^RM^2.999.14^ISO",
            observation=encapsulated(a_pdf("More")),
        )
    )
    first, addendum = sorted(await department.reports(), key=lambda one: one.unique_id)
    assert (AssociationType.APND, first.entry_uuid) in await department.related(addendum)

    await department.sends(
        mdm("T08", patient=OURS, control_id="C3", observation=encapsulated(a_pdf("Edited")))
    )

    reports = {one.unique_id: one for one in await department.reports()}
    assert len(reports) == 2
    [edited] = [one for name, one in reports.items() if name != "2.999.14.56"]
    assert (AssociationType.APND, edited.entry_uuid) in await department.related(reports["2.999.14.56"])


async def test_a_preliminary_report_is_not_kept(department):
    await department.publish()

    await department.sends(oru("P", patient=OURS))

    assert (await department.reports(), await department.rows()) == ([], [])


async def test_a_preliminary_report_is_published_where_that_is_set_until_the_final_one(tmp_path):
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        department = a_department(rig, preliminary=True)
        await department.publish()
        await department.sends(oru("P", patient=OURS, observations=[encapsulated(a_pdf("Perhaps"))]))
        assert len(await department.reports()) == 1

        await department.sends(
            oru(patient=OURS, control_id="C2", observations=[encapsulated(a_pdf("Certainly"))])
        )
        await department.sends(
            oru("P", patient=OURS, control_id="C3", observations=[encapsulated(a_pdf("Late"))])
        )

        [report] = await department.reports()
        assert await department.document(report) == a_pdf("Certainly")


async def test_reports_are_triggers_alone_where_that_is_set(tmp_path):
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        department = a_department(rig, publish=False)
        await department.publish()

        await department.sends(oru(patient=OURS, observations=["OBX|2|RP|18748-4^Report^LN||http://x/y"]))

        assert await department.rows() == []


async def test_a_report_goes_with_the_next_manifest_of_its_study(department):
    await department.publish()
    await department.sends(oru(patient=OURS))

    await department.publish()

    [report] = await department.reports()
    manifest = await department.manifest()
    assert (AssociationType.APND, manifest.entry_uuid) in await department.related(report)


async def test_a_report_stays_where_it_is_when_it_is_linked_by_its_ids_alone(tmp_path):
    async with a_publishing_rig(tmp_path) as rig:
        await rig.make_known("P1")
        department = a_department(rig, append=False)
        await department.publish()
        await department.sends(oru(patient=OURS))
        [before] = await department.reports()

        await department.publish()

        [report] = await department.reports()
        assert report.entry_uuid == before.entry_uuid
        assert {kind for kind, _ in await department.related(report)} == set()


async def test_a_report_is_withdrawn_with_the_manifest_and_comes_again_with_it(department):
    await department.publish()
    await department.sends(oru(patient=OURS))

    await withdraw(department.rig.source.parts, STUDY)
    await department.settle()
    assert await department.reports() == []
    assert [one.obstacle for one in await department.rows()] == [ReportObstacle.NO_MANIFEST]

    await department.rig.publish(STUDY)
    await department.settle()
    assert len(await department.reports()) == 1


async def test_a_report_follows_its_manifest_to_another_patient(department):
    await department.rig.make_known("P2")
    await department.publish()
    await department.sends(oru(patient=OURS))

    await department.rig.publish(STUDY, "P2")
    await department.settle()

    assert await department.reports() == []
    assert len(await department.reports(patient="P2")) == 1


async def test_a_report_follows_a_merge(department):
    await department.rig.make_known("P2")
    await department.publish()
    await department.sends(oru(patient=OURS))
    await department.rig.merge("P1", "P2")

    await department.publish()

    assert len(await department.reports(patient="P2")) == 1


async def test_a_report_of_another_patient_is_set_aside_until_a_person_decides(department):
    await department.publish()
    await department.sends(oru(patient="P9^^^NORTH"))
    [row] = await department.rows()
    assert (row.state, row.obstacle) == (ReportState.WAITING, ReportObstacle.OTHER_PATIENT)
    assert await department.reports() == []
    assert row.obstacle.needs_person
    assert "xdsi reports --accept" in row.obstacle.explanation


async def test_a_report_that_is_set_aside_is_overtaken_by_its_correction(department):
    await department.publish()
    await department.sends(oru(patient="P9^^^NORTH"))

    await department.sends(
        oru(
            "C",
            patient=OURS,
            control_id="C2",
            observations=["OBX|2|TX|19005-8^Impression^LN||Nothing.||||||C"],
        )
    )

    assert len(await department.reports()) == 1


async def test_a_report_is_erased_with_its_study(department):
    await department.publish()
    await department.sends(oru(patient=OURS))

    await erase(
        department.rig.source.parts, STUDY, (), "asked for", Caller(node=HERE, endpoint="http://source")
    )

    assert (await department.reports(), await department.rows()) == ([], [])


@pytest.mark.parametrize(
    ("observation", "told"),
    [
        (encapsulated(b"GIF89a"), "the document is said to be a PDF, and is none"),
        (encapsulated(b"%PDF-1.4 half of"), "the PDF is cut off"),
        ("OBX|3|ED|R||RM^application^pdf^Base64^!!!!||||||F", "the data are not base64"),
        ("OBX|3|ED|R||RM^application^pdf^Zip^AAAA||||||F", "Base64, Hex or A"),
        ("OBX|3|RP|R||http://169.254.169.254/report.pdf||||||F", "a pointer (OBX-2 = RP) is not followed"),
        (encapsulated(b"<a/>", "text^xml"), "no ClinicalDocument"),
        (
            encapsulated(
                b'<!DOCTYPE a [<!ENTITY b "b">]><ClinicalDocument xmlns="urn:hl7-org:v3"/>', "text^xml"
            ),
            "no well-formed XML within the limits",
        ),
        (encapsulated(b"\xff\xd8", "image^jpeg"), "a PDF or a CDA document"),
    ],
)
async def test_what_is_no_report_is_refused_with_the_reason(department, observation: str, told: str):
    await department.publish()

    answer = await department.says(oru(patient=OURS, observations=[observation]))

    assert "\rMSA|AE|C1|" in answer
    assert told in answer.replace("\\T\\", "&")
    assert await department.rows() == []


async def test_a_report_is_known_after_a_stop_that_came_while_it_was_sent(department, monkeypatch):
    await department.publish()
    parts = department.rig.source.parts
    call = type(parts.repository).call

    async def lost(client, *given, **more):
        answer = await call(client, *given, **more)
        if client is parts.repository:
            raise asyncio.CancelledError
        return answer

    monkeypatch.setattr(type(parts.repository), "call", lost)
    assert "MSA|AA" in await department.says(oru(patient=OURS))
    with pytest.raises(asyncio.CancelledError):
        await department.rig.source.reports.turn()
    monkeypatch.undo()

    await department.settle()

    assert len(await department.reports()) == 1
    assert [one.state for one in await department.rows()] == [ReportState.PUBLISHED]


@pytest.mark.parametrize("observation", [IMPRESSION, encapsulated(a_pdf())], ids=["text", "pdf"])
async def test_a_consumer_shows_it_beside_its_images(department, observation: str):
    await department.publish()
    await department.sends(oru(patient=OURS, observations=[observation]))
    [report] = await department.reports()

    read = read_report(report, await department.document(report), "handle")

    assert consumer_reports.is_report(report)
    assert consumer_reports.of_study([report], [await department.manifest()]) == [report]
    assert read.is_pdf or read.text == "No meningioma."


@pytest.mark.parametrize(
    "sop_class",
    ["1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.840.10008.5.1.4.1.1.104.2"],
    ids=["structured report", "encapsulated PDF", "encapsulated CDA"],
)
async def test_a_report_that_is_an_instance_is_one_of_the_manifest(department, sop_class: str):
    image = await department.rig.image(STUDY, "P1")
    report = await department.rig.image(STUDY, "P1", SOPClassUID=sop_class, SeriesInstanceUID="2.25.120")

    await department.publish()

    manifest = await department.manifest()
    assert {image, report} < await department.rig.images_of(manifest)
    assert await department.reports() == [], "no document of its own"
