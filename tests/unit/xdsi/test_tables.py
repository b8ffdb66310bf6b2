"""Every table at 80 columns against its golden text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import xdsi.consent
import xdsi.fetch
import xdsi.find
import xdsi.publications
import xdsi.publish
from audit_repository.domain.accesses import accesses
from consumer.imaging_document_consumer import Retrieval
from consumer.settings import ConsumerSettings
from shared.dicom.kos import Manifest, ReferencedInstance, ReferencedSeries, ReferencedStudy
from shared.ebrim.model import Timestamp
from tests.support.metadata import a_document_entry, an_on_demand_entry
from xdsi import audit_tables, doctor, kpi, listing, settings
from xdsi.checks.finding import doubtful, well, wrong

STUDY = "1.3.6.1.4.1.14519.5.2.1.7009.2403.334219107373090212345678901234"
MANIFEST = "2.25.340282366920938463463374607431768211455"
POLICY = "urn:uuid:6f9619ff-8b86-d011-b42d-00cf4fc964ff"


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listing, "_width", lambda: 80)


def test_find(capsys):
    entries = (
        a_document_entry(unique_id=MANIFEST, title="CT chest", service_start_time=Timestamp("20260901")),
        an_on_demand_entry(unique_id="2.25.7", title="CT of the abdomen and the pelvis with contrast"),
    )

    xdsi.find._show(entries, ConsumerSettings.load(environ={}))

    assert capsys.readouterr().out == (
        "date        modality  study                                 made       accession\n"
        "2026-09-01  CT        CT chest                                         A123\n"
        "  manifest 2.25.340282366920938463463374607431768211455\n"
        "2024-03-05  CT        CT of the abdomen and the pelvis      on demand  A123\n"
        "                      with contrast\n"
        "  manifest 2.25.7\n"
    )


def test_what_another_community_has_comes_with_its_id(capsys):
    xdsi.find._show(
        (a_document_entry(unique_id=MANIFEST, title="CT chest", home_community_id="urn:oid:1.2.3"),),
        ConsumerSettings.load(environ={}, gateway_url="http://127.0.0.1:8060/xca/initiating"),
    )

    assert capsys.readouterr().out == (
        "date        modality  study     accession\n"
        "2024-03-05  CT        CT chest  A123\n"
        "  manifest 2.25.340282366920938463463374607431768211455\n"
        "  home urn:oid:1.2.3\n"
    )


def test_publish(capsys):
    xdsi.publish._show(
        xdsi.publish.Published(
            study_instance_uid=STUDY, state="published", outcome="replaced", document_unique_id=MANIFEST
        )
    )

    assert capsys.readouterr().out == f"replaced\n  study {STUDY}\n  manifest {MANIFEST}\n"


def test_publications(capsys):
    publications = [
        {
            "study_instance_uid": STUDY,
            "state": "refused",
            "document_unique_id": MANIFEST,
            "explanation": "it was refused (XDSRegistryMetadataError: a code is missing); correct that,"
            " then retry",
        },
        {
            "study_instance_uid": "2.25.11",
            "state": "set-aside",
            "sop_instance_uid": "2.25.12",
            "explanation": "it is another patient's",
        },
    ]

    listing.show(xdsi.publications._COLUMNS, map(xdsi.publications._row, publications))

    assert capsys.readouterr().out == (
        "state      why\n"
        "refused    it was refused (XDSRegistryMetadataError: a code is missing); correct\n"
        "           that, then retry\n"
        f"  study {STUDY}\n"
        f"  manifest {MANIFEST}\n"
        "set-aside  it is another patient's\n"
        "  study 2.25.11\n"
        "  instance 2.25.12\n"
    )


def test_consent(capsys, monkeypatch):
    policy = {
        "policy_id": POLICY,
        "effect": "deny",
        "roles": ["RAD-PHYS^^2.999.40.1"],
        "organizations": [],
        "purposes": [],
        "confidentiality": [],
        "valid_until": "2030-05-04T00:00:00Z",
        "description": "",
    }
    monkeypatch.setattr(
        xdsi.consent, "ask", lambda *_: {"patient_id": "P-1001^^^&1.2.3&ISO", "policies": [policy]}
    )

    xdsi.consent.show("P-1001")

    assert capsys.readouterr().out == (
        "1 policy of P-1001^^^&1.2.3&ISO\n"
        "effect  for                         until\n"
        "deny    roles RAD-PHYS^^2.999.40.1  2030-05-04T00:00:00Z\n"
        f"  policy {POLICY}\n"
    )


def test_fetch(capsys):
    instances = tuple(ReferencedInstance(sop_class_uid="1.2", sop_instance_uid=f"2.25.{n}") for n in range(3))
    series = (
        ReferencedSeries(series_instance_uid=STUDY, number="2", modality="CT", description="Thorax 1.0",
                         instances=instances),
        ReferencedSeries(series_instance_uid=STUDY, number="2", modality="CT", description="Thorax 1.0",
                         instances=instances[:1]),
        ReferencedSeries(series_instance_uid="2.25.9", instances=instances[:1]),
    )  # fmt: skip
    manifest = Manifest(
        sop_instance_uid=MANIFEST,
        study_instance_uid="2.25.1",
        studies=(ReferencedStudy(study_instance_uid="2.25.1", series=series),),
    )

    xdsi.fetch._tell(
        manifest, Retrieval(instances=1, size=2**20, already_there=4, missing=()), Path("images"), False
    )

    assert capsys.readouterr().out == (
        "series  modality  description  instances\n"
        "2       CT        Thorax 1.0   4\n"
        f"  uid {STUDY}\n"
        "                               1\n"
        "  uid 2.25.9\n"
        "1 instance, 1.0 MiB, to images; 4 were there\n"
    )


def a_record(**changes):
    code = {"code": "ITI-43", "system": "IHE Transactions", "text": "Retrieve Document Set"}
    user = {
        "user_id": "<dr.south@urn:idp>",
        "user_name": "<dr.south@urn:idp>",
        "name_id": "dr.south",
        "requestor": True,
        "roles": [{"code": "RAD-PHYS", "system": "2.999.40.1", "text": "Radiologist"}],
    }
    return {
        "sequence": 12,
        "state": "parsed",
        "time": "2026-11-29T22:00:00.000000Z",
        "event": {"code": "110106", "system": "DCM", "text": "Export"},
        "types": [code],
        "outcome": 8,
        "description": "refused by consent: deny everyone",
        "refused": True,
        "source": "xdsi-repository",
        "standing": "proved",
        "subject": "CN=north",
        "peer": "127.0.0.1",
        "fingerprint": "ab" * 32,
        "purposes": [{"code": "TREAT", "system": "2.16.840.1.113883.5.8", "text": ""}],
        "participants": [user],
        "patients": ["P-1001^^^&1.2.3&ISO", "X-1^^^&9.9.9&ISO"],
        "objects": [{"id": STUDY, "id_type": {"code": "110180", "system": "DCM", "text": ""}}],
    } | changes


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_audit_search(capsys, utc):
    unread = {"sequence": 13, "state": "unparsed", "received": "2026-11-29T22:00:01.000000Z"}
    unread |= {"reason": "no XML", "subject": "", "peer": "192.0.2.9"}

    audit_tables.show_records([unread, a_record()], "1.2.3")

    assert capsys.readouterr().out == (
        "2 records\n"
        "#   time                what                outcome              reported by\n"
        "13  2026-11-29          unparsed            no XML               192.0.2.9\n"
        "    22:00:01\n"
        "12  2026-11-29          ITI-43 Retrieve     refused: by          xdsi-repository\n"
        "    22:00:00            Document Set        consent: deny\n"
        "                                            everyone\n"
        "  user dr.south\n"
        "  patient P-1001\n"
        "  patient X-1^^^&9.9.9&ISO\n"
        f"  study {STUDY}\n"
    )


def test_audit_report(capsys, utc):
    audit_tables.show_accesses(accesses([a_record(), a_record(time="2026-11-30T08:00:00Z")]), "1.2.3")

    assert capsys.readouterr().out == (
        "role         purpose    by        times  first       last        reported by\n"
        "Radiologist  treatment  ITI-43    2      2026-11-29  2026-11-30  xdsi-repository\n"
        "                        Retrieve         22:00:00    08:00:00\n"
        "                        Document\n"
        "                        Set\n"
        "  user dr.south\n"
        "  issuer urn:idp\n"
        "  recorded under P-1001\n"
        "  recorded under X-1^^^&9.9.9&ISO\n"
        f"  study {STUDY}\n"
    )


def test_doctor():
    findings = [
        well("machine", "clock", "runs with the others"),
        doubtful("storage", "XDSI_DATA", "3 % of the disk is free", "make room, or name another folder"),
        wrong("port", "XDSI_REGISTRY__PORT", "8010 is taken", "end what listens there, or set another"),
    ]

    assert "\n".join(doctor._lines(findings)) == (
        "ok       clock: runs with the others\n"
        "warning  XDSI_DATA: 3 % of the disk is free\n"
        "         → make room, or name another folder\n"
        "ERROR    XDSI_REGISTRY__PORT: 8010 is taken\n"
        "         → end what listens there, or set another\n"
        "\n"
        "1 error, 1 warning"
    )


def test_settings():
    def said(variable: str, value: str, origin: str) -> settings.Effective:
        return settings.Effective(variable=variable, value=value, origin=origin)

    home = said("XDSI_HOME_COMMUNITY_ID", f"urn:oid:{STUDY}", "variable XDSI_HOME_COMMUNITY_ID")
    values = {
        "registry": (home, said("XDSI_PORT", "8010", "default")),
        "gateway": (home, said("XDSI_PORT", "8060", "default")),
    }

    assert "\n".join(settings._lines(values)) == (
        "# every service\n"
        f"XDSI_HOME_COMMUNITY_ID=urn:oid:{STUDY}  (variable XDSI_HOME_COMMUNITY_ID)\n"
        "\n"
        "# registry\n"
        "XDSI_PORT=8010  (default)\n"
        "\n"
        "# gateway\n"
        "XDSI_PORT=8060  (default)"
    )


def test_kpi(capsys):
    numbers = kpi.times_of([0.2, 0.25, 0.3, 4.0])
    assert numbers is not None

    listing.show(kpi._TIMES, [("registration of a manifest", *kpi._cells(numbers))])

    assert capsys.readouterr().out == (
        "what                        number  half within  95 of 100 within\n"
        "registration of a manifest  4       0.3 s        4 s\n"
    )
