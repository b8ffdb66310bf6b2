"""Inputs from the field that broke things, with what a user needs of each.

Those of instances are in `imaging_source/test_field_cases.py`.
"""

from __future__ import annotations

import pytest

from consumer.domain.study import NoRoad, Via, requested_instances, roads
from registry.domain import feed
from shared.dicom.kos import read_manifest
from shared.imaging import negotiation
from shared.imaging.negotiation import Form
from tests.support.field_cases import field_cases
from tests.support.metadata import DOMAIN

__all__ = ["field_cases"]


def test_100_what_java_writes_by_itself_asks_for_anything(field_cases):
    accept = field_cases.header("100", "accept")

    assert negotiation.instances(accept, None, single=True).form is Form.MULTIPART_DICOM
    assert negotiation.metadata(accept, None) is Form.JSON


def test_102_the_value_that_is_asked_for_has_a_form(field_cases):
    accept = field_cases.header("102", "accept")

    assert negotiation.bulk_data(accept, None) is Form.MULTIPART_OCTETS


def test_110_a_patient_with_an_umlaut_is_known(field_cases):
    message = feed.decode(field_cases.octets("110", "message.hl7"), domain=DOMAIN)

    assert (message.patient_id, message.header.control_id) == (f"H7-900^^^&{DOMAIN}&ISO", "77")


@pytest.mark.parametrize(("name", "via"), [("120", Via.RAD69), ("121", Via.WADO_RS)])
@pytest.mark.parametrize("preferred", list(Via))
def test_a_manifest_with_one_place_is_followed_by_its_road(field_cases, name, via, preferred):
    everything = requested_instances(read_manifest(field_cases.case(name) / "manifest.dcm"))

    assert everything
    ways = set()
    for one in everything:
        try:
            ways.add(roads(one, preferred, across=False)[0])
        except NoRoad as told:
            ways.add(str(told))
    assert ways == {via}


def test_122_a_reference_without_class_is_followed_all_the_same(field_cases):
    [one] = requested_instances(read_manifest(field_cases.case("122") / "manifest.dcm"))

    assert one.sop_class_uid == ""
    assert roads(one, Via.RAD69, across=False)[0] is Via.RAD69
