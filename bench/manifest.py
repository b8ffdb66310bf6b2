"""The manifest of a CT study of 500 files of 512 KB, made of the files: by us, and by pydicom with highdicom.

Ours is what intake and publishing do of it: each file is scanned and described, then the Key Object Selection
Document is built and encoded. Theirs reads each file without its pixels, and makes the document by highdicom.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pydicom
from highdicom.ko import KeyObjectSelection, KeyObjectSelectionDocument
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from bench.retrieve import write_study
from bench.support.report import options, show
from imaging_source.domain.header import study_header
from imaging_source.domain.intake import identify
from imaging_source.domain.manifest import Identity, Place, build, encode, new_uid
from shared.dicom.kos import read_manifest
from shared.dicom.part10 import scan
from shared.imaging.description import Claim, describe

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ours(paths: Sequence[Path]) -> bytes:
    """The manifest of these files."""
    described = []
    for path in paths:
        part10 = scan(path)
        described.append(
            describe(
                part10,
                identify(part10, Claim()),
                file=str(path),
                size=path.stat().st_size,
                sha256="",
                received_at=_NOW,
                tolerated=part10.tolerated,
            )
        )
    instances = [one.instance for one in described]
    header = study_header(instances[0].study_instance_uid, [json.loads(described[0].header)])
    identity = Identity(sop_instance_uid=new_uid(), series_instance_uid=new_uid(), created=_NOW)
    place = Place(ae_title="XDSI", location_uid="1.2.3", url="http://127.0.0.1/dicomweb")
    return encode(build(header, instances, identity=identity, place=place))


def theirs(paths: Sequence[Path]) -> bytes:
    """The same by pydicom and highdicom."""
    images = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    for image in images:
        # It asks for what a study may leave empty.
        for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "ReferringPhysicianName"):
            image.setdefault(keyword, "")
    document = KeyObjectSelectionDocument(
        evidence=images,
        content=KeyObjectSelection(document_title=codes.DCM.Manifest, referenced_objects=images),
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )
    out = BytesIO()
    document.save_as(out)
    return out.getvalue()


def measure(*, rounds: int) -> dict[str, dict[str, object]]:
    """All measures by name."""
    with tempfile.TemporaryDirectory(prefix="xdsi-bench-") as name:
        _, _, uids, paths = write_study(Path(name))
        seen: dict[str, list[float]] = {"ours": [], "theirs": []}
        makers: dict[str, Callable[[Sequence[Path]], bytes]] = {"ours": ours, "theirs": theirs}
        for number in range(rounds + 1):
            for who, make in makers.items():
                began = time.perf_counter()
                made = make(paths)
                elapsed = time.perf_counter() - began
                named = {one.sop_instance_uid for _, _, one in read_manifest(made).instances}
                assert named == set(uids), f"{who}: {len(named)} instances"
                if number:
                    seen[who].append(elapsed * 1000)
    here, there = (statistics.median(values) for values in seen.values())
    return {
        "scan_and_manifest": {
            "value": round(here),
            "unit": "ms",
            "against": f"pydicom and highdicom {there:.0f} ms",
            "ratio": round(there / here, 2),
        }
    }


def main() -> None:
    """Measure and print."""
    given = options(__doc__, short="fewer rounds").parse_args()
    show(measure(rounds=3 if given.short else 9), as_json=given.json)


if __name__ == "__main__":
    main()
