"""The Native DICOM Model says what the JSON model says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from pydicom import Dataset

from shared.dicom import native_xml

N = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def model_of(attributes):
    return etree.fromstring(native_xml.encode(attributes))


def read(parent):
    """The JSON model of a document of the elements that `a_data_set` makes."""
    found = {}
    for element in parent.findall(f"{N}DicomAttribute"):
        values = [value.text or "" for value in element.findall(f"{N}Value")]
        items = [read(item) for item in element.findall(f"{N}Item")]
        names = [
            "^".join(part.text or "" for part in name.find(f"{N}Alphabetic"))
            for name in element.findall(f"{N}PersonName")
        ]
        found[element.get("tag")] = (element.get("vr"), values or items or names)
    return found


def test_every_kind_of_value_is_said():
    data_set = Dataset()
    data_set.PatientName = "Müller^Jörg^^Dr."
    data_set.Rows = 3
    data_set.ImageType = ["ORIGINAL", "PRIMARY"]
    data_set.PixelSpacing = [0.5, 0.25]
    data_set.StudyDescription = 'a < b & "c"'
    item = Dataset()
    item.CodeValue = "113030"
    data_set.ConceptNameCodeSequence = [item]
    data_set.LargestImagePixelValue = 7
    data_set["LargestImagePixelValue"].VR = "US"
    data_set.private_block(0x0009, "MAKER", create=True).add_new(0x01, "LO", "mine")
    model = model_of(json.loads(data_set.to_json()))

    found = read(model)
    assert found["00100010"] == ("PN", ["Müller^Jörg^Dr."])
    assert found["00280010"] == ("US", ["3"])
    assert found["00080008"] == ("CS", ["ORIGINAL", "PRIMARY"])
    assert found["00280030"][1] == ["0.5", "0.25"]
    assert found["00081030"] == ("LO", ['a < b & "c"'])
    assert found["0040A043"] == ("SQ", [{"00080100": ("SH", ["113030"])}])
    private = model.find(f"{N}DicomAttribute[@privateCreator='MAKER']")
    assert (private.get("tag"), private[0].text) == ("00090001", "mine")
    assert model.find(f"{N}DicomAttribute[@tag='00280010']").get("keyword") == "Rows"


def test_numbers_tell_where_values_are_absent():
    model = model_of({"00080008": {"vr": "CS", "Value": ["A", None, "C"]}})
    assert [(value.get("number"), value.text) for value in model[0]] == [("1", "A"), ("3", "C")]


def test_what_stays_in_the_file_is_named():
    model = model_of(
        {
            "7FE00010": {"vr": "OW", "BulkDataURI": "https://pacs.example/bulk?a=1&b=2"},
            "00282000": {"vr": "OB", "InlineBinary": "AAEC"},
        }
    )
    assert model.find(f".//{N}BulkData").get("uri") == "https://pacs.example/bulk?a=1&b=2"
    assert model.find(f".//{N}InlineBinary").text == "AAEC"


@given(TEXT)
def test_any_text_makes_a_document_and_comes_back_as_far_as_xml_can_say_it(text):
    model = model_of({"00081030": {"vr": "LT", "Value": [text]}, "00090010": {"vr": "LO", "Value": [text]}})
    said = text.translate(dict.fromkeys((*range(9), 11, 12, *range(14, 32), 0xFFFE, 0xFFFF), "\ufffd"))
    assert (model[0][0].text or "") == said
