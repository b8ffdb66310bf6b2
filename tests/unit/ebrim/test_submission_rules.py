"""What a submission must be: each attribute of ITI TF-3 4.2.3, and the reject table of the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from lxml import etree

from shared.ebrim import schemes
from shared.ebrim.codec import (
    DecodedSubmission,
    decode_submission,
    encode_submission,
    required_for_registration,
)
from shared.ebrim.findings import MAX_ERRORS
from shared.ebrim.model import AvailabilityStatus
from shared.errors import Actor, Severity
from shared.xml import NS, Element
from tests.support.metadata import (
    CT,
    DIAGNOSTIC_IMAGING,
    PATIENT,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)

RIM = NS["rim"]
DOCUMENT, PACKAGE, LINK = "ExtrinsicObject", "RegistryPackage", "Association"


# --- changing a good message -------------------------------------------------------------------------


def a_message() -> Element:
    """The object list of a good submission: doc1 in fol1, and ss1 with all its members."""
    folder = a_folder(entry_uuid="fol1")
    in_folder = an_association("fol1", "doc1", entry_uuid="as3")
    listed = an_association("ss1", "as3", entry_uuid="as4", documentation=(DIAGNOSTIC_IMAGING,))
    submission = a_submission(
        a_document_entry(
            entry_uuid="doc1",
            legal_authenticator="^Roe^Ann",
            service_stop_time=None,
            uri="kos.dcm",
            document_availability=schemes.ONLINE,
            comments="none",
        ),
        folders=[folder],
        associations=[in_folder, listed],
        entry_uuid="ss1",
        intended_recipients=("|^Doe",),
        title="CT",
    )
    octets = encode_submission(submission)
    return etree.fromstring(b'<r xmlns:rim="%s">%s</r>' % (RIM.encode(), octets))[0]


def element(name: str, content: str = "", /, **attributes: str) -> Element:
    listed = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return etree.fromstring(f'<rim:{name} xmlns:rim="{RIM}"{listed}>{content}</rim:{name}>')


def slot(name: str, *values: str) -> Element:
    made = element("Slot", "<rim:ValueList/>", name=name)
    for value in values:
        etree.SubElement(made[0], f"{{{RIM}}}Value").text = value
    return made


def found(message: Element, path: str) -> Element:
    (only,) = message.xpath(path, namespaces=dict(NS))
    return only


def obj(message: Element, object_id: str) -> Element:
    return found(message, f"*[@id='{object_id}']")


def decoded(change: Callable[[Element], object]) -> DecodedSubmission:
    message = a_message()
    change(message)
    return decode_submission(message)


def errors_of(change: Callable[[Element], object]) -> list[tuple[str, str]]:
    result = decoded(change)
    assert all(error.code_for(Actor.REGISTRY) == "XDSRegistryMetadataError" for error in result.errors)
    assert all(error.severity is Severity.ERROR for error in result.errors)
    return [(error.location, error.context) for error in result.errors]


def test_the_message_that_the_tests_change_is_good():
    result = decode_submission(a_message())

    assert result.errors == ()
    assert result.warnings == ()
    assert result.submission is not None


# --- every attribute, one by one ---------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """An attribute: where it is carried, and what the tables of the standard say about it."""

    object_id: str
    attribute: str
    path: str
    required: bool = True
    many: bool = False
    malformed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.object_id}-{self.attribute}"


def _slot(name: str) -> str:
    return f"rim:Slot[@name='{name}']"


def _coded(scheme: str) -> str:
    return f"rim:Classification[@classificationScheme='{scheme}']"


def _identifier(scheme: str) -> str:
    return f"rim:ExternalIdentifier[@identificationScheme='{scheme}']"


TIMES = ("2024-03-05", "20240230", "20240305101500Z", "now")
BAD_CX = ("P1", "P1^^^1.2&ISO", "P1^^^&1.2&ISO^MR", "P1^^^&1.02&ISO")
BAD_OIDS = ("1", "1.02", "urn:oid:1.2", "1." + "2" * 63)

ROWS = [
    # ITI TF-3 table 4.2.3.2-1, DocumentEntry
    Row("doc1", "author", _coded(schemes.DOCUMENT_AUTHOR), required=False, many=True),
    Row("doc1", "classCode", _coded(schemes.CLASS_CODE)),
    Row("doc1", "confidentialityCode", _coded(schemes.CONFIDENTIALITY_CODE), many=True),
    Row("doc1", "creationTime", _slot("creationTime"), malformed=TIMES),
    Row("doc1", "eventCodeList", _coded(schemes.EVENT_CODE), required=False, many=True),
    Row("doc1", "formatCode", _coded(schemes.FORMAT_CODE)),
    Row("doc1", "hash", _slot("hash"), required=False, malformed=("da39", "g" * 40)),
    Row("doc1", "healthcareFacilityTypeCode", _coded(schemes.HEALTHCARE_FACILITY_TYPE_CODE)),
    Row("doc1", "languageCode", _slot("languageCode"), malformed=("en_US", "english language")),
    Row("doc1", "legalAuthenticator", _slot("legalAuthenticator"), required=False, malformed=("^^Ann",)),
    Row("doc1", "patientId", _identifier(schemes.DOCUMENT_PATIENT_ID), malformed=BAD_CX),
    Row("doc1", "practiceSettingCode", _coded(schemes.PRACTICE_SETTING_CODE)),
    Row(
        "doc1",
        schemes.REFERENCE_ID_LIST,
        _slot(schemes.REFERENCE_ID_LIST),
        required=False,
        many=True,
        malformed=("A1", "A1^^^&1.2&ISO", "A1^^^&1.2&ISO^"),
    ),
    Row("doc1", "repositoryUniqueId", _slot("repositoryUniqueId"), required=False, malformed=BAD_OIDS),
    Row("doc1", "serviceStartTime", _slot("serviceStartTime"), required=False, malformed=TIMES),
    Row("doc1", "size", _slot("size"), required=False, malformed=("-1", "1.5", "9" * 19)),
    Row("doc1", "sourcePatientId", _slot("sourcePatientId"), malformed=BAD_CX),
    Row(
        "doc1",
        "sourcePatientInfo",
        _slot("sourcePatientInfo"),
        required=False,
        many=True,
        malformed=("Doe^John", "PID-|x"),
    ),
    Row("doc1", "typeCode", _coded(schemes.TYPE_CODE)),
    Row("doc1", "uniqueId", _identifier(schemes.DOCUMENT_UNIQUE_ID), malformed=("..", "1..2", "a/../b")),
    Row("doc1", "URI", _slot("URI"), required=False),
    Row("doc1", "documentAvailability", _slot("documentAvailability"), required=False, malformed=("Online",)),
    # ITI TF-3 table 4.2.3.3-1, SubmissionSet
    Row("ss1", "contentTypeCode", _coded(schemes.CONTENT_TYPE_CODE)),
    Row(
        "ss1",
        "intendedRecipient",
        _slot("intendedRecipient"),
        required=False,
        many=True,
        malformed=("|^^Ann", "||a@b.org"),
    ),
    Row("ss1", "patientId", _identifier(schemes.SUBMISSION_SET_PATIENT_ID), malformed=BAD_CX),
    Row("ss1", "sourceId", _identifier(schemes.SUBMISSION_SET_SOURCE_ID), malformed=BAD_OIDS),
    Row("ss1", "submissionTime", _slot("submissionTime"), malformed=TIMES),
    Row("ss1", "uniqueId", _identifier(schemes.SUBMISSION_SET_UNIQUE_ID), malformed=BAD_OIDS),
    # ITI TF-3 table 4.2.3.4-1, Folder
    Row("fol1", "codeList", _coded(schemes.FOLDER_CODE), many=True),
    Row("fol1", "patientId", _identifier(schemes.FOLDER_PATIENT_ID), malformed=BAD_CX),
    Row("fol1", "uniqueId", _identifier(schemes.FOLDER_UNIQUE_ID), malformed=BAD_OIDS),
    # ITI TF-3 4.2.2.2, Association
    Row(
        "as4",
        "associationDocumentation",
        _coded(schemes.ASSOCIATION_DOCUMENTATION),
        required=False,
        many=True,
    ),
]


def _carriers(message: Element, row: Row) -> list[Element]:
    return obj(message, row.object_id).xpath(row.path, namespaces=dict(NS))


def _set(carrier: Element, value: str) -> None:
    if carrier.get("value") is not None:
        carrier.set("value", value)
    else:
        carrier[0][0].text = value


@pytest.mark.parametrize("row", [row for row in ROWS if row.required], ids=str)
def test_a_required_attribute_is_missed(row):
    def leave_out(message: Element) -> None:
        for carrier in _carriers(message, row):
            carrier.getparent().remove(carrier)

    (error,) = errors_of(leave_out)

    assert error[0] == f"{row.object_id}/{row.attribute}"
    assert error[1].startswith(f"{row.attribute} is missing; give ")
    assert decoded(leave_out).submission is None


@pytest.mark.parametrize("row", [row for row in ROWS if not row.required], ids=str)
def test_an_optional_attribute_is_not_missed(row):
    def leave_out(message: Element) -> None:
        carriers = _carriers(message, row)
        assert carriers
        for carrier in carriers:
            carrier.getparent().remove(carrier)

    assert errors_of(leave_out) == []


def _twice(row: Row) -> Callable[[Element], None]:
    def change(message: Element) -> None:
        carrier = _carriers(message, row)[0]
        if carrier.tag == f"{{{RIM}}}Slot":
            carrier[0].append(etree.fromstring(etree.tostring(carrier[0][0])))
            return
        again = etree.fromstring(etree.tostring(carrier))
        again.set("id", "another")
        carrier.addnext(again)

    return change


@pytest.mark.parametrize("row", [row for row in ROWS if not row.many], ids=str)
def test_a_single_attribute_has_one_value(row):
    (error,) = errors_of(_twice(row))

    assert error[0] == f"{row.object_id}/{row.attribute}"
    assert "has 2 values; give one" in error[1]


# PID-7 and PID-8 of sourcePatientInfo stand once; the first value of the message is PID-5.
@pytest.mark.parametrize("row", [row for row in ROWS if row.many], ids=str)
def test_a_multiple_attribute_has_any_number_of_values(row):
    assert errors_of(_twice(row)) == []


@pytest.mark.parametrize(("row", "value"), [(row, value) for row in ROWS for value in row.malformed], ids=str)
def test_a_malformed_value_is_refused_and_the_right_form_told(row, value):
    (error,) = errors_of(lambda message: _set(_carriers(message, row)[0], value))

    assert error[0] == f"{row.object_id}/{row.attribute}"
    assert error[1].startswith(f"{row.attribute} {value[:80]}")
    assert " is not " in error[1]


@pytest.mark.parametrize("row", [row for row in ROWS if row.path.startswith("rim:Slot")], ids=str)
def test_a_slot_appears_once_and_is_short_enough(row):
    def again(message: Element) -> None:
        carrier = _carriers(message, row)[0]
        carrier.addnext(etree.fromstring(etree.tostring(carrier)))

    (error,) = errors_of(again)
    assert error[0] == f"{row.object_id}/{row.attribute}"
    assert "appears twice" in error[1]

    long = errors_of(lambda message: _set(_carriers(message, row)[0], "1" * 257))
    assert any("exceeds the 256" in text for _, text in long)


@pytest.mark.parametrize("row", [row for row in ROWS if row.path.startswith("rim:Slot")], ids=str)
@pytest.mark.parametrize("values", [(), ("",), (" \n ",)], ids=("none", "empty", "blank"))
def test_a_slot_without_a_value_counts_as_absent(row, values):
    def empty(message: Element) -> None:
        carrier = _carriers(message, row)[0]
        carrier.getparent().replace(carrier, slot(row.attribute, *values))

    assert [location for location, _ in errors_of(empty)] == (
        [f"{row.object_id}/{row.attribute}"] if row.required else []
    )


@pytest.mark.parametrize(
    ("attribute", "name", "value"),
    [
        ("mimeType", "mimeType", None),
        ("mimeType", "mimeType", " "),
        ("mimeType", "mimeType", "dicom"),
        ("objectType", "objectType", None),
        ("objectType", "objectType", "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"),
        ("entryUUID", "id", None),
        ("logicalID", "lid", "doc2"),
        ("logicalID", "lid", "urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1"),
    ],
)
def test_the_xml_attributes_of_a_document_entry_have_their_form(attribute, name, value):
    def change(message: Element) -> None:
        entry = obj(message, "doc1")
        if value is None:
            del entry.attrib[name]
        else:
            entry.set(name, value)

    locations = [location for location, _ in errors_of(change)]

    assert f"{'ExtrinsicObject' if name == 'id' else 'doc1'}/{attribute}" in locations


@pytest.mark.parametrize("name", ["associationType", "sourceObject", "targetObject"])
def test_an_association_has_a_type_and_two_ends(name):
    (error,) = errors_of(lambda message: obj(message, "as3").attrib.pop(name))

    assert error == (f"as3/{name}", f"{name} is missing; give the attribute {name}")


@pytest.mark.parametrize("name", ["sourceObject", "targetObject"])
def test_an_end_that_claims_to_be_a_uuid_is_one(name):
    (error,) = errors_of(
        lambda message: obj(message, "as3").set(name, "urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1")
    )

    assert error[0] == f"as3/{name}"


def test_an_unknown_association_type_is_kept_for_the_registry_to_name():
    result = decoded(lambda message: obj(message, "as3").set("associationType", "urn:x"))

    assert result.errors == ()
    assert result.submission is not None
    assert "urn:x" in {association.association_type for association in result.submission.associations}


@pytest.mark.parametrize(("object_id", "limit"), [("doc1", 128), ("ss1", 256), ("fol1", 256)])
def test_a_title_has_its_greatest_length(object_id, limit):
    def title(length: int) -> Callable[[Element], None]:
        return lambda message: found(obj(message, object_id), "*[local-name()='Name']")[0].set(
            "value", "x" * length
        )

    assert errors_of(title(limit)) == []
    assert errors_of(title(limit + 1)) == [(f"{object_id}/title", f"title exceeds {limit} characters")]


def test_a_folder_has_a_title_and_the_others_may_have_none():
    def untitled(object_id: str) -> Callable[[Element], None]:
        def change(message: Element) -> None:
            name = found(obj(message, object_id), "*[local-name()='Name']")
            name.getparent().remove(name)

        return change

    assert [location for location, _ in errors_of(untitled("fol1"))] == ["fol1/title"]
    assert errors_of(untitled("doc1")) == []
    assert errors_of(untitled("ss1")) == []


@pytest.mark.parametrize("number", [2, 32, 33, 3_200])
def test_a_title_may_be_in_several_languages_but_not_in_very_many(number: int):
    def several(message: Element) -> None:
        name = found(obj(message, "doc1"), "*[local-name()='Name']")
        for _ in range(number - len(name)):
            name.append(element("LocalizedString", value="Thorax"))

    few = number <= 32
    assert errors_of(several) == (
        [] if few else [("doc1/title", f"title exceeds 32 LocalizedStrings; there are {number}")]
    )


def test_a_title_that_is_too_long_in_any_language_is_too_long():
    def second(message: Element) -> None:
        name = found(obj(message, "doc1"), "*[local-name()='Name']")
        name.append(element("LocalizedString", value="x" * 200))

    assert [location for location, _ in errors_of(second)] == ["doc1/title"]


def test_language_and_charset_of_a_title_mean_nothing():
    def marked(message: Element) -> None:
        title = found(obj(message, "doc1"), "*[local-name()='Name']")[0]
        title.set("charset", "ISO-8859-1")
        title.set("{http://www.w3.org/XML/1998/namespace}lang", "de")

    result = decoded(marked)

    assert result.errors == ()
    assert result.submission is not None
    assert result.submission.document_entries[0].title == "CT chest"


def test_comments_may_be_longer_than_the_schema_says():
    description = element("Description", '<rim:LocalizedString value="{}"/>'.format("x" * 5_000))

    assert errors_of(lambda message: obj(message, "ss1").append(description)) == []


@pytest.mark.parametrize("name", ["PID-7", "PID-8"])
def test_birth_date_and_sex_stand_once(name):
    def again(message: Element) -> None:
        listed = found(obj(message, "doc1"), "*[@name='sourcePatientInfo']")[0]
        listed.append(slot("x", f"{name}|x")[0][0])

    (error,) = errors_of(again)

    assert error[0] == "doc1/sourcePatientInfo"
    assert name in error[1]


# --- E02: structure ----------------------------------------------------------------------------------


def test_a_submission_has_exactly_one_submission_set():
    def none(message: Element) -> None:
        message.remove(obj(message, "ss1"))

    def two(message: Element) -> None:
        again = etree.fromstring(etree.tostring(obj(message, "ss1")).replace(b"ss1", b"ss2"))
        message.append(again)

    assert errors_of(none) == [("SubmissionSet", "the submission has 0 SubmissionSets; give one")]
    assert errors_of(two) == [("SubmissionSet", "the submission has 2 SubmissionSets; give one")]
    assert decoded(none).submission is None
    assert decoded(two).submission is None


def _without_label(message: Element) -> Element:
    label = found(obj(message, "fol1"), "*[@classificationNode]")
    label.getparent().remove(label)
    return label


def test_a_package_without_label_is_refused():
    (error,) = errors_of(_without_label)

    assert error[0] == "fol1/Classification"
    assert schemes.FOLDER_NODE in error[1]


def test_a_package_is_not_both_submission_set_and_folder():
    label = element("Classification", classifiedObject="fol1", classificationNode=schemes.SUBMISSION_SET_NODE)

    errors = errors_of(lambda message: obj(message, "fol1").append(label))

    assert [location for location, _ in errors] == ["fol1/Classification"]


def test_a_label_may_stand_beside_its_package():
    expected = decode_submission(a_message()).submission

    def beside(message: Element) -> None:
        message.insert(0, _without_label(message))

    result = decoded(beside)

    assert result.errors == ()
    assert result.submission is not None
    assert expected is not None
    assert result.submission.folders[0].title == expected.folders[0].title


def test_a_label_may_stand_both_inside_and_beside():
    label = element(
        "Classification", id="c1", classifiedObject="fol1", classificationNode=schemes.FOLDER_NODE
    )

    assert errors_of(lambda message: message.append(label)) == []


@pytest.mark.parametrize(
    "sibling",
    [
        {"classifiedObject": "doc1", "classificationScheme": schemes.CLASS_CODE, "nodeRepresentation": "x"},
        {"classifiedObject": "fol1", "classificationScheme": schemes.FOLDER_CODE, "nodeRepresentation": "x"},
        {"classifiedObject": "nobody", "classificationNode": schemes.FOLDER_NODE},
        {"classificationNode": schemes.FOLDER_NODE},
    ],
)
def test_beside_the_objects_stand_labels_of_packages_only(sibling):
    (error,) = errors_of(lambda message: message.append(element("Classification", id="c1", **sibling)))

    assert error[0] == f"{sibling.get('classifiedObject', '')}/Classification"


def test_a_document_entry_is_not_labelled_as_a_package():
    label = element(
        "Classification", id="c1", classifiedObject="doc1", classificationNode=schemes.FOLDER_NODE
    )

    (error,) = errors_of(lambda message: obj(message, "doc1").append(label))

    assert error[0] == "doc1/Classification"


@pytest.mark.parametrize("name", ["Service", "ExternalLink", "User"])
def test_objects_of_other_classes_are_refused(name):
    (error,) = errors_of(lambda message: message.append(element(name, id="x1")))

    assert error[0] == "x1"
    assert error[1].startswith(f"{name} has no place in a submission")


def test_object_refs_and_comments_are_passed_over():
    def change(message: Element) -> None:
        message.append(element("ObjectRef", id="urn:uuid:1"))
        message.insert(0, etree.Comment("from us"))

    assert errors_of(change) == []


# --- E05: classifications and identifiers ------------------------------------------------------------

CODED = [row for row in ROWS if row.path.startswith("rim:Classification") and row.attribute != "author"]


@pytest.mark.parametrize("row", CODED, ids=str)
def test_a_code_has_value_scheme_and_display_name(row):
    def change(spoil: Callable[[Element], object]) -> list[str]:
        return [location for location, _ in errors_of(lambda message: spoil(_carriers(message, row)[0]))]

    location = [f"{row.object_id}/{row.attribute}"]
    slot_path, name_path = "*[@name='codingScheme']", "*[local-name()='Name']"
    assert change(lambda code: code.attrib.pop("nodeRepresentation")) == location
    assert change(lambda code: code.set("nodeRepresentation", "")) == location
    assert change(lambda code: code.set("nodeRepresentation", "x" * 257)) == location
    assert change(lambda code: code.remove(found(code, slot_path))) == location
    assert change(lambda code: found(code, slot_path)[0].append(slot("x", "1.2")[0][0])) == location
    assert change(lambda code: code.remove(found(code, name_path))) == location
    assert change(lambda code: found(code, name_path)[0].set("value", "")) == location
    assert change(lambda code: code.append(slot("codingScheme", "1.2"))) == location


@pytest.mark.parametrize("row", [row for row in ROWS if not row.path.startswith("rim:Slot")], ids=str)
def test_what_is_nested_names_the_object_around_it(row):
    name = "registryObject" if "Identifier" in row.path else "classifiedObject"

    for spoil in (lambda part: part.set(name, "doc2"), lambda part: part.attrib.pop(name)):
        (error,) = errors_of(lambda message, spoil=spoil: spoil(_carriers(message, row)[0]))
        assert error[0] == f"{row.object_id}/{name}"


def test_what_is_nested_needs_no_id_no_object_type_and_no_fixed_name():
    def bare(message: Element) -> None:
        for part in message.xpath("*/rim:Classification | */rim:ExternalIdentifier", namespaces=dict(NS)):
            del part.attrib["id"], part.attrib["objectType"]
        for name in message.xpath("*/rim:ExternalIdentifier/rim:Name", namespaces=dict(NS)):
            name.getparent().remove(name)

    assert errors_of(bare) == []


def test_a_classification_has_a_scheme_or_a_node():
    def both(message: Element) -> None:
        obj(message, "doc1")[-4].set("classificationNode", schemes.FOLDER_NODE)

    def neither(message: Element) -> None:
        obj(message, "doc1").append(element("Classification", id="c1", classifiedObject="doc1"))

    assert "doc1/Classification" in [location for location, _ in errors_of(both)]
    assert [location for location, _ in errors_of(neither)] == ["doc1/Classification"]


@pytest.mark.parametrize("object_id", ["doc1", "ss1", "fol1", "as3"])
def test_schemes_and_nodes_that_the_object_does_not_have_are_refused(object_id):
    scheme = element("Classification", id="c1", classifiedObject=object_id, classificationScheme="urn:uuid:1")
    node = element("Classification", id="c1", classifiedObject=object_id, classificationNode="urn:uuid:1")
    identifier = element(
        "ExternalIdentifier", id="e1", registryObject=object_id, identificationScheme="urn:uuid:1", value="1"
    )

    for part, kind in (
        (scheme, "Classification"),
        (node, "Classification"),
        (identifier, "ExternalIdentifier"),
    ):
        (error,) = errors_of(lambda message, part=part: obj(message, object_id).append(part))
        assert error[0] == f"{object_id}/{kind}"
        assert "urn:uuid:1" in error[1]


# --- E10, E11, E29, E30, E33 -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("object_id", "node"),
    [
        ("doc1", schemes.LIMITED_DOCUMENT_ENTRY),
        ("ss1", schemes.LIMITED_SUBMISSION_SET),
        ("fol1", schemes.LIMITED_FOLDER),
    ],
)
@pytest.mark.parametrize("nested", [True, False], ids=("nested", "beside"))
def test_limited_metadata_is_refused(object_id, node, nested):
    flag = element("Classification", id="c1", classifiedObject=object_id, classificationNode=node)

    (error,) = errors_of(lambda message: (obj(message, object_id) if nested else message).append(flag))

    assert error[0] == f"{object_id}/limitedMetadata"


def _author(*slots: Element) -> Element:
    author = element(
        "Classification",
        id="c1",
        classifiedObject="doc1",
        classificationScheme=schemes.DOCUMENT_AUTHOR,
        nodeRepresentation="",
    )
    author.extend(slots)
    return author


def _author_errors(*slots: Element) -> list[tuple[str, str]]:
    return errors_of(lambda message: obj(message, "doc1").append(_author(*slots)))


@pytest.mark.parametrize(
    "named",
    [
        slot("authorPerson", "^Roe"),
        slot("authorInstitution", "Hospital"),
        slot("authorTelecommunication", "^^Internet^a@b.org"),
    ],
)
def test_an_author_is_a_person_an_institution_or_an_address(named):
    assert _author_errors(named, slot("authorRole", "Radiologist")) == []


def test_an_author_of_role_and_specialty_alone_is_nobody():
    (error,) = _author_errors(slot("authorRole", "Radiologist"), slot("authorSpecialty", "Radiology"))

    assert error[0] == "doc1/author"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorPerson", "^^Ann"),
        ("authorInstitution", "Hospital^^^^^^^^^45"),
        ("authorRole", "RAD^x"),
        ("authorSpecialty", "RAD^^^&x&ISO"),
        ("authorTelecommunication", "a@b.org"),
    ],
)
def test_the_parts_of_an_author_have_their_form(name, value):
    (error,) = (
        _author_errors(slot("authorInstitution", "Hospital"), slot(name, value))
        if name != ("authorInstitution")
        else _author_errors(slot(name, value))
    )

    assert error[0] == f"doc1/{name}"
    assert value in error[1]


def test_an_author_is_one_person():
    (error,) = _author_errors(slot("authorPerson", "^Roe", "^Doe"))

    assert error[0] == "doc1/authorPerson"


def test_an_author_needs_no_node_representation():
    author = _author(slot("authorPerson", "^Roe"))
    del author.attrib["nodeRepresentation"]

    assert errors_of(lambda message: obj(message, "doc1").append(author)) == []


@pytest.mark.parametrize("object_id", ["doc1", "ss1", "fol1", "as3"])
@pytest.mark.parametrize("name", ["urn:att", "urn:example.org:a", "urn:oid:1.2.3"])
def test_extra_metadata_of_a_legal_name_is_kept(object_id, name):
    result = decoded(lambda message: obj(message, object_id).insert(0, slot(name, " a ", "")))

    assert result.errors == ()
    assert result.warnings == ()
    assert result.submission is not None
    objects = (
        *result.submission.document_entries,
        result.submission.submission_set,
        *result.submission.folders,
        *result.submission.associations,
    )
    (extra,) = next(value for value in objects if value.entry_uuid == object_id).extra_slots
    assert (extra.name, extra.values) == (name, (" a ", ""))


@pytest.mark.parametrize("object_id", ["doc1", "ss1", "fol1", "as3"])
@pytest.mark.parametrize(
    "name", ["urn:ihe:iti:xds:2013:unknown", "urn:ihe:x", "myExtra", "PreviousVersions", "URN:x"]
)
def test_extra_metadata_of_another_name_is_refused(object_id, name):
    (error,) = errors_of(lambda message: obj(message, object_id).insert(0, slot(name, "a")))

    assert error[0] == f"{object_id}/{name}"
    assert "starts with urn:" in error[1]


@pytest.mark.parametrize("name", sorted(schemes.METADATA_UPDATE_SLOTS))
def test_slots_of_metadata_update_belong_to_associations(name):
    on_association = decoded(lambda message: obj(message, "as3").insert(0, slot(name, "1")))
    on_entry = errors_of(lambda message: obj(message, "doc1").insert(0, slot(name, "1")))

    assert on_association.errors == ()
    assert on_association.submission is not None
    assert [location for location, _ in on_entry] == [f"doc1/{name}"]


@pytest.mark.parametrize("name", ["", "u" * 257])
def test_a_slot_has_a_name_of_the_schemas_length(name):
    errors = errors_of(lambda message: obj(message, "doc1").insert(0, slot(name, "1")))

    assert "doc1/Slot" in [location for location, _ in errors]


@pytest.mark.parametrize(
    "slots",
    [
        [slot(f"urn:x:{number}", "a") for number in range(201)],
        [slot("urn:x:1", *["a"] * 1_001)],
    ],
    ids=("slots", "values"),
)
def test_slots_and_values_are_bounded(slots):
    (error,) = errors_of(lambda message: obj(message, "doc1").extend(slots))

    assert "exceeds" in error[1]
    assert decoded(lambda message: obj(message, "doc1").extend(slots)).submission is None


def test_no_two_objects_share_an_id():
    (error,) = errors_of(lambda message: obj(message, "fol1")[-1].set("id", "doc1"))

    assert error[0] == "doc1"
    assert "used twice" in error[1]


def test_permanent_ids_are_uuids_in_lower_case():
    upper = "urn:uuid:7EDCA82F-054D-47F2-A032-9B2A5B5186C1"

    errors = errors_of(lambda message: obj(message, "as4").set("id", upper))

    assert (f"{upper}/entryUUID") in [location for location, _ in errors]


def test_a_slot_that_has_no_place_in_a_classification_is_dropped_with_a_warning():
    def change(message: Element) -> None:
        code = _carriers(message, Row("doc1", "classCode", _coded(schemes.CLASS_CODE)))[0]
        code.insert(0, slot("urn:x", "a"))
        obj(message, "doc1").append(_author(slot("authorPerson", "^Roe"), slot("authorShoeSize", "43")))

    result = decoded(change)

    assert result.errors == ()
    assert result.submission is not None
    assert [warning.code_for(Actor.REGISTRY) for warning in result.warnings] == [
        "XDSExtraMetadataNotSaved"
    ] * 2
    assert {warning.severity for warning in result.warnings} == {Severity.WARNING}
    assert {warning.location for warning in result.warnings} == {"doc1/classCode", "doc1/author"}


# --- what is never an error --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated", "Submitted", ""])
def test_a_status_that_is_sent_is_ignored(status):
    result = decoded(lambda message: [node.set("status", status) for node in message])

    assert result.errors == ()
    assert result.submission is not None
    assert result.submission.document_entries[0].availability_status is AvailabilityStatus.APPROVED
    assert result.submission.associations[0].availability_status is AvailabilityStatus.APPROVED


def test_a_last_update_time_that_is_sent_is_no_error():
    assert errors_of(lambda message: obj(message, "fol1").insert(0, slot("lastUpdateTime", "2024"))) == []


def test_a_home_is_kept_as_it_is_sent():
    result = decoded(lambda message: obj(message, "doc1").set("home", "anything"))

    assert result.errors == ()
    assert result.submission is not None
    assert result.submission.document_entries[0].home_community_id == "anything"


@pytest.mark.parametrize(("name", "version"), [(None, 1), ("1.1", 1), ("1", 1), ("7", 7)])
def test_the_version_is_read(name, version):
    info = element("VersionInfo") if name is None else element("VersionInfo", versionName=name)

    result = decoded(lambda message: obj(message, "doc1").append(info))

    assert result.errors == ()
    assert result.submission is not None
    assert result.submission.document_entries[0].version == version


@pytest.mark.parametrize("name", ["two", "-1", "1" * 5_000, "²"])
def test_a_version_that_is_no_number_is_refused(name):
    (error,) = errors_of(
        lambda message: obj(message, "doc1").append(element("VersionInfo", versionName=name))
    )

    assert error[0] == "doc1/version"


def test_an_upper_case_hash_is_kept_as_it_was_sent():
    upper = "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709"

    result = decoded(lambda message: _set(found(obj(message, "doc1"), "*[@name='hash']"), upper))

    assert result.errors == ()
    assert result.submission is not None
    assert result.submission.document_entries[0].hash == upper


def test_a_display_name_is_never_compared():
    result = decode_submission(a_message())

    assert result.submission is not None
    assert result.submission.document_entries[0].event_codes[0] == CT


# --- all at once -------------------------------------------------------------------------------------


def test_all_errors_are_told_together_and_each_with_its_place():
    def many(message: Element) -> None:
        _set(found(obj(message, "doc1"), "*[@name='creationTime']"), "today")
        found(obj(message, "doc1"), "*[@name='languageCode']").set("name", "urn:ihe:language")
        found(obj(message, "ss1"), f"*[@identificationScheme='{schemes.SUBMISSION_SET_SOURCE_ID}']").set(
            "value", "us"
        )
        message.append(element("Service", id="x1"))

    assert [location for location, _ in errors_of(many)] == [
        "doc1/creationTime",
        "doc1/languageCode",
        "doc1/urn:ihe:language",
        "ss1/sourceId",
        "x1",
    ]


def test_a_submission_with_malformed_values_alone_is_given_beside_its_errors():
    result = decoded(
        lambda message: found(
            obj(message, "doc1"), f"*[@identificationScheme='{schemes.DOCUMENT_PATIENT_ID}']"
        ).set("value", "P1")
    )

    assert len(result.errors) == 1
    assert result.submission is not None
    assert result.submission.document_entries[0].patient_id == "P1"
    assert result.submission.submission_set.patient_id == PATIENT


def test_the_number_of_errors_is_bounded():
    wrong = [element("Service", id=f"x{number}") for number in range(MAX_ERRORS * 3)]

    errors = errors_of(lambda message: message.extend(wrong))

    assert len(errors) == MAX_ERRORS + 1
    assert "further errors are left out" in errors[-1][1]


def _long_id(message: Element) -> None:
    text = "d" * 1_000_000
    message[0].set("id", text)
    for part in message.xpath("*/*[@classifiedObject]"):
        part.set("classifiedObject", text)


def _long_identifier(message: Element) -> None:
    path = f"*[@identificationScheme='{schemes.DOCUMENT_UNIQUE_ID}']"
    found(obj(message, "doc1"), path).set("value", "1" * 1_000_000)


def _long_slot(message: Element) -> None:
    obj(message, "doc1").insert(0, slot("urn:" + "x" * 1_000_000, "a" * 1_000_000))


@pytest.mark.parametrize("change", [_long_id, _long_identifier, _long_slot])
def test_what_is_beyond_all_bounds_is_neither_repeated_nor_looked_at_again(change):
    result = decoded(change)

    assert result.errors
    assert result.submission is None
    assert sum(len(error.context) + len(error.location) for error in result.errors) < 100_000


def test_long_values_are_shortened_in_error_texts():
    (error,) = errors_of(
        lambda message: found(
            obj(message, "doc1"), f"*[@identificationScheme='{schemes.DOCUMENT_PATIENT_ID}']"
        ).set("value", "P" * 250)
    )

    assert len(error[1]) < 200


# --- what depends on the transaction -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, []),
        ({"hash": ""}, ["hash"]),
        ({"size": None}, ["size"]),
        ({"size": 0}, []),
        ({"repository_unique_id": ""}, ["repositoryUniqueId"]),
        ({"hash": "", "size": None, "repository_unique_id": ""}, ["repositoryUniqueId", "hash", "size"]),
        ({"hash": "", "size": None, "object_type": schemes.ON_DEMAND}, []),
        ({"repository_unique_id": "", "object_type": schemes.ON_DEMAND}, ["repositoryUniqueId"]),
    ],
)
def test_registration_demands_what_a_source_may_leave_out(changes, missing):
    errors = list(required_for_registration(a_document_entry(entry_uuid="doc1", **changes)))

    assert [error.location for error in errors] == [f"doc1/{name}" for name in missing]
    assert {error.code_for(Actor.REGISTRY) for error in errors} <= {"XDSRegistryMetadataError"}


def test_an_on_demand_entry_has_no_creation_time():
    def on_demand(message: Element) -> None:
        entry = obj(message, "doc1")
        entry.set("objectType", schemes.ON_DEMAND)
        entry.remove(found(entry, "*[@name='creationTime']"))

    assert errors_of(on_demand) == []


def test_an_id_of_megabytes_does_not_multiply_with_the_errors_about_it():
    # Quadratic work of this size would run into the timeout of the suite.
    def change(message: Element) -> None:
        entry = obj(message, "doc1")
        entry.set("id", "d" * 3_000_000)
        entry.extend([element("Classification") for _ in range(30_000)])

    assert len(decoded(change).errors) == MAX_ERRORS + 1
