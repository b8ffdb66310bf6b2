"""Answers of other products are read for what they say; what is absent is noted and nothing else is lost."""

import pytest
from lxml import etree

from shared.ebrim import schemes
from shared.ebrim.codec import decode_document_entry, decode_objects, encode_document_entry, encode_folder
from shared.ebrim.model import AvailabilityStatus, Slot
from shared.ebrim.reader import read_slot
from shared.errors import Rejected
from shared.xml import NS, Element
from tests.support.metadata import a_document_entry, a_folder

RIM = NS["rim"]


def an_answer(*fragments: bytes) -> Element:
    return etree.fromstring(b'<list xmlns:rim="%s">%s</list>' % (RIM.encode(), b"".join(fragments)))


def parts(element: Element, path: str) -> list[Element]:
    return element.xpath(path, namespaces=dict(NS))


def remove(element: Element, path: str) -> None:
    found = parts(element, path)
    assert found
    for part in found:
        part.getparent().remove(part)


@pytest.mark.parametrize(
    ("path", "location"),
    [
        (f"*/*[@classificationScheme='{schemes.CLASS_CODE}']", "classCode"),
        (f"*/*[@classificationScheme='{schemes.CONFIDENTIALITY_CODE}']", "confidentialityCode"),
        ("*/*[@name='languageCode']", "languageCode"),
        ("*/*[@name='creationTime']", "creationTime"),
        (f"*/*[@identificationScheme='{schemes.DOCUMENT_PATIENT_ID}']", "patientId"),
    ],
)
def test_an_entry_that_lacks_an_attribute_is_still_found(path, location):
    entry = a_document_entry()
    answer = an_answer(encode_document_entry(entry))
    remove(answer, path)

    objects = decode_objects(answer)

    assert [found.unique_id for found in objects.document_entries] == [entry.unique_id]
    assert [error.location for error in objects.errors] == [f"{entry.entry_uuid}/{location}"]


@pytest.mark.parametrize(
    "path", [f"*/*[@identificationScheme='{schemes.DOCUMENT_UNIQUE_ID}']", "*/@id/.."], ids=("uniqueId", "id")
)
def test_an_entry_without_identity_is_left_out_and_noted(path):
    answer = an_answer(encode_document_entry(a_document_entry()), encode_folder(a_folder()))
    if path.startswith("*/@id"):
        del answer[0].attrib["id"]
    else:
        remove(answer[0], path[2:])

    objects = decode_objects(answer)

    assert objects.document_entries == ()
    assert len(objects.folders) == 1
    assert len(objects.errors) == 1


def test_unknown_schemes_slots_and_objects_are_passed_over_or_kept():
    answer = an_answer(encode_document_entry(a_document_entry()))
    answer[0].insert(
        0,
        etree.fromstring(
            f'<r:Slot xmlns:r="{RIM}" name="myExtra"><r:ValueList><r:Value>x</r:Value></r:ValueList></r:Slot>'
        ),
    )
    answer[0].append(
        etree.fromstring(
            f'<r:Classification xmlns:r="{RIM}" id="c" classifiedObject="d" classificationScheme="urn:x"/>'
        )
    )
    answer.append(etree.fromstring(f'<r:Service xmlns:r="{RIM}" id="s"/>'))
    answer.append(etree.fromstring('<other xmlns="urn:x"/>'))

    objects = decode_objects(answer)

    assert objects.errors == ()
    assert objects.document_entries[0].extra_slots == (Slot("myExtra", ("x",)),)


def test_malformed_values_are_given_as_they_are():
    entry = a_document_entry()
    answer = an_answer(encode_document_entry(entry))
    (patient_id,) = parts(answer, f"*/*[@identificationScheme='{schemes.DOCUMENT_PATIENT_ID}']")
    patient_id.set("value", "P1")

    objects = decode_objects(answer)

    assert objects.errors == ()
    assert objects.document_entries[0].patient_id == "P1"


def test_a_time_that_cannot_be_read_is_absent_and_noted():
    answer = an_answer(encode_document_entry(a_document_entry()))
    parts(answer, "*/*[@name='serviceStartTime']//rim:Value")[0].text = "2024-03-05"

    objects = decode_objects(answer)

    assert objects.document_entries[0].service_start_time is None
    assert len(objects.errors) == 1


@pytest.mark.parametrize("status", [None, "Submitted"])
def test_an_unknown_status_is_noted(status):
    answer = an_answer(encode_document_entry(a_document_entry()))
    if status is None:
        del answer[0].attrib["status"]
    else:
        answer[0].set("status", status)

    objects = decode_objects(answer)

    assert objects.document_entries[0].availability_status is AvailabilityStatus.APPROVED
    assert [error.location.rpartition("/")[2] for error in objects.errors] == ["availabilityStatus"]


def test_a_package_of_no_kind_is_noted():
    answer = an_answer(encode_folder(a_folder()))
    remove(answer, "*/*[@classificationNode]")

    objects = decode_objects(answer)

    assert not objects
    assert len(objects.errors) == 1


def test_one_object_alone_is_complete_or_refused():
    answer = an_answer(encode_document_entry(a_document_entry()))
    remove(answer, f"*/*[@classificationScheme='{schemes.TYPE_CODE}']")

    with pytest.raises(Rejected, match="typeCode is missing"):
        decode_document_entry(answer[0])


@pytest.mark.parametrize(
    ("laid_out", "values"),
    [
        ("<rim:ValueList><rim:Value>a</rim:Value></rim:ValueList>", ("a",)),
        ("<rim:ValueList><rim:Value>a<!-- - -->b</rim:Value></rim:ValueList>", ("ab",)),
        ("<rim:ValueList><!-- - --><rim:Value>a</rim:Value></rim:ValueList>", ("a",)),
        ("<rim:ValueList><rim:Value>a</rim:Value><rim:Value>b</rim:Value></rim:ValueList>", ("a", "b")),
        ("<rim:ValueList><rim:Value>a</rim:Value></rim:ValueList><rim:ValueList/>", ("a",)),
        ("<rim:ValueList><rim:Value/></rim:ValueList>", ("",)),
        ("<rim:ValueList><!-- a --></rim:ValueList>", ()),
        ("<rim:ValueList><Value>of no namespace</Value></rim:ValueList>", ()),
        ("<rim:Other><rim:Value>a</rim:Value></rim:Other>", ()),
        ("<rim:ValueList/>", ()),
        ("<!-- a -->", ()),
        ("", ()),
    ],
)
def test_a_slot_says_the_same_however_it_is_laid_out(laid_out: str, values: tuple[str, ...]):
    slot = etree.fromstring(f'<rim:Slot xmlns:rim="{RIM}" name="urn:x">{laid_out}</rim:Slot>')

    assert read_slot(slot) == ("urn:x", values)
