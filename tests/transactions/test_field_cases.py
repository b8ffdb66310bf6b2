"""Inputs from the field that broke things, with what a user needs of each; skipped where they are absent.

Those of instances are in `imaging_source/test_field_cases.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from consumer.domain.study import NoRoad, Via, requested_instances, road
from imaging_source.domain import negotiation
from imaging_source.domain.negotiation import Form
from registry.domain import feed
from shared.dicom.kos import read_manifest
from tests.support.metadata import DOMAIN

CASES = Path(__file__).resolve().parents[3] / "shared" / "field-cases"

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the field cases are not at hand")


def case(name: str) -> Path:
    [folder] = CASES.glob(f"{name}-*")
    return folder


def header(name: str, request: Path) -> str:
    lines = request.read_text("latin-1").splitlines()
    [value] = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(f"{name}:")]
    return value


def test_100_what_java_writes_by_itself_asks_for_anything():
    accept = header("accept", case("100") / "request.http")

    assert negotiation.instances(accept, None, single=True).form is Form.MULTIPART_DICOM
    assert negotiation.metadata(accept, None) is Form.JSON


def test_102_the_value_that_is_asked_for_has_a_form():
    accept = header("accept", case("102") / "request.http")

    assert negotiation.bulk_data(accept, None) is Form.MULTIPART_OCTETS


def test_110_a_patient_with_an_umlaut_is_known():
    message = feed.decode((case("110") / "message.hl7").read_bytes(), domain=DOMAIN)

    assert (message.patient_id, message.header.control_id) == (f"H7-900^^^&{DOMAIN}&ISO", "77")


@pytest.mark.parametrize(("name", "via"), [("120", Via.RAD69), ("121", Via.WADO_RS)])
@pytest.mark.parametrize("preferred", list(Via))
def test_a_manifest_with_one_place_is_followed_by_its_road(name, via, preferred):
    everything = requested_instances(read_manifest(case(name) / "manifest.dcm"))

    assert everything
    roads = set()
    for one in everything:
        try:
            roads.add(road(one, preferred, across=False))
        except NoRoad as told:
            roads.add(str(told))
    assert roads == {via}


def test_122_a_reference_without_class_is_followed_all_the_same():
    [one] = requested_instances(read_manifest(case("122") / "manifest.dcm"))

    assert one.sop_class_uid == ""
    assert road(one, Via.RAD69, across=False) is Via.RAD69
