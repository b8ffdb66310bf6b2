"""Manifests, metadata and instances that are given together are judged against each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conformance.corpus import mado, mado_fhir, manifests, metadata
from conformance.corpus.data_sets import DataSet, part10
from conformance.corpus.messages import digest_of
from conformance.validation import validate_together
from xdsi.cli import build


def instances() -> dict[str, DataSet]:
    """Those that the manifest of the corpus references."""
    return {
        uid: {
            0x00080016: sop_class,
            0x00080018: uid,
            0x00080050: "A123",
            0x00100020: "P1",
            0x0020000D: manifests.STUDY,
            0x0020000E: series,
        }
        for series, listed in manifests.SERIES.items()
        for sop_class, uid, _ in listed
    }


def written(folder: Path, archive: dict[str, DataSet]) -> list[Path]:
    octets = part10(manifests.manifest())
    contents = {
        "manifest.dcm": octets,
        "entry.xml": metadata.submission(digest_of(octets), len(octets)).encode(),
        **{f"{uid}.dcm": part10(one) for uid, one in archive.items()},
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def ids(paths: list[Path]) -> set[str]:
    report = validate_together(paths)
    assert report is not None
    return {finding.id for finding in report.findings}


def test_what_agrees_has_no_finding(tmp_path: Path):
    assert ids(written(tmp_path, instances())) == set()


CHANGES = {
    "XDSI-ARCH-001": lambda archive: archive.pop("2.25.5011"),
    "XDSI-ARCH-002": lambda archive: archive["2.25.5011"].update({0x00080016: manifests.ECG}),
    "XDSI-ARCH-003": lambda archive: archive["2.25.5011"].update({0x0020000E: "2.25.999"}),
    "XDSI-ARCH-004": lambda archive: archive.update(
        {"2.25.8": {**archive["2.25.5011"], 0x00080018: "2.25.8"}}
    ),
    "XDSI-ARCH-005": lambda archive: [one.update({0x00100020: "P9"}) for one in archive.values()],
    "XDSI-ARCH-006": lambda archive: [one.update({0x00080050: "B9"}) for one in archive.values()],
}


@pytest.mark.parametrize("id", CHANGES)
def test_what_differs_is_found(id: str, tmp_path: Path):
    archive = instances()
    CHANGES[id](archive)
    assert ids(written(tmp_path, archive)) == {id}


def test_metadata_of_another_file_are_found(tmp_path: Path):
    paths = written(tmp_path, {})
    entry = paths[1].read_text("utf-8").replace("20260301091500", "20260301101500")
    paths[1].write_text(entry, "utf-8")
    assert ids(paths) == {"XDSI-DOC-004"}


def test_files_that_have_nothing_to_do_with_each_other_give_no_report(tmp_path: Path):
    paths = written(tmp_path, {})
    assert validate_together([paths[0], paths[0]]) is None


def test_the_command_judges_files_together(tmp_path: Path):
    archive = instances()
    archive.pop("2.25.5011")
    ran = CliRunner().invoke(build("validate"), ["validate", *map(str, written(tmp_path, archive))])
    assert ran.exit_code == 1
    assert "files together: manifests, metadata, archive" in ran.output
    assert "XDSI-ARCH-001" in ran.output


def in_fhir() -> dict[str, Any]:
    """The manifest with description of the corpus, as FHIR."""
    bundle = mado_fhir.bundle()
    study = bundle["entry"][1]["resource"]
    template = study["series"][0]
    instances = {**manifests.SERIES, "2.25.504": ((manifests.KOS, mado.NOTE, "COMPOSITE"),)}
    study["series"] = [
        template | {"uid": uid, "instance": [{"uid": instance} for _, instance, _ in listed]}
        for uid, listed in instances.items()
    ]
    return bundle


def both(folder: Path, bundle: dict[str, Any]) -> list[Path]:
    paths = [folder / "manifest.dcm", folder / "bundle.json"]
    paths[0].write_bytes(part10(mado.described()))
    paths[1].write_text(json.dumps(bundle), "utf-8")
    return paths


def test_both_encodings_of_a_manifest_that_agree_have_no_finding(tmp_path: Path):
    assert ids(both(tmp_path, in_fhir())) == set()


TWINS = {
    "MADO-TWIN-001": mado_fhir.put("urn:oid:2.25.9", "identifier", "value"),
    "MADO-TWIN-002": mado_fhir.drop("entry", 1, "resource", "series", 0),
    "MADO-TWIN-003": mado_fhir.put("B9", "entry", 1, "resource", "basedOn", 0, "identifier", "value"),
    "MADO-TWIN-004": mado_fhir.put("1.2.3.78", "entry", 5, "resource", "extension", 0, "valueString"),
    "MADO-TWIN-005": mado_fhir.put("https://other.example.org", "entry", 5, "resource", "address"),
}


@pytest.mark.parametrize("id", TWINS)
def test_what_differs_between_both_encodings_is_found(id: str, tmp_path: Path):
    bundle = in_fhir()
    TWINS[id](bundle)
    assert ids(both(tmp_path, bundle)) == {id}
