"""What is encoded is decoded again, whoever wrote it in whatever spelling of XML."""

import copy
import pickle
from dataclasses import asdict, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from shared.ebrim import codec, schemes
from shared.ebrim.identifiers import is_uuid
from shared.ebrim.model import AssociationType, AvailabilityStatus, Code, LocalizedText, Slot
from shared.xml import NS, Element
from tests.support import metadata
from tests.support.metadata import a_document_entry, a_folder, a_submission, a_submission_set, an_association
from tests.support.schemas import LCM, assert_valid, assert_valid_objects

RIM = NS["rim"]
KINDS = {
    "document_entry": metadata.document_entries,
    "submission_set": metadata.submission_sets,
    "folder": metadata.folders,
    "association": metadata.associations,
}

thorough = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def listed(fragments: bytes) -> Element:
    """The object list that holds these fragments."""
    return codec.parse_fragment(b"<rim:RegistryObjectList>%s</rim:RegistryObjectList>" % fragments)


def respelled(element: Element, prefix: str | None) -> Element:
    """The same infoset under another prefix (None: the default one), with comments and white space added."""
    name = etree.QName(element)
    copy = etree.Element(name.text, dict(element.attrib), nsmap={prefix: RIM})
    if name.localname == "Value":
        copy.text = element.text
        copy.insert(0, etree.Comment(" a comment before "))
        copy[0].tail, copy.text = copy.text, None
        return copy
    for child in element:
        copy.append(etree.Comment("between"))
        copy.append(respelled(child, prefix))
    for node in copy:
        node.tail = "\n\t "
    copy.text = "\n "
    return etree.fromstring(etree.tostring(copy))


def same(one: object, other: object) -> bool:
    """Equality of every field; display names take no part in the equality of codes."""
    return one == other and asdict(one) == asdict(other)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_survives_its_fragment(kind):
    encode, decode = getattr(codec, f"encode_{kind}"), getattr(codec, f"decode_{kind}")

    @thorough
    @given(KINDS[kind])
    def law(value):
        again = decode(codec.parse_fragment(encode(value)))
        assert same(again, value)
        # Languages take no part in equality.
        assert encode(again) == encode(value)

    law()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda text: pickle.loads(pickle.dumps(text))])
def test_a_text_in_languages_is_copied_with_them(copied):
    text = LocalizedText(("de", "Kopf"), ("", "Head"))
    assert (copied(text), copied(text).strings) == ("Kopf", text.strings)


def test_a_language_that_is_none_is_left_out_and_what_says_nothing_with_its_language():
    fragment = codec.encode_folder(a_folder(title=LocalizedText(("de", "Kopf"), ("fr", "T\u00eate"))))
    for sent, kept in ((b'"not a language"', b""), (b'""', b""), (b'" en "', b' xml:lang="en"')):
        other = fragment.replace(b'xml:lang="de"', b"xml:lang=" + sent)
        read = codec.decode_folder(codec.parse_fragment(other))
        assert codec.encode_folder(read) == fragment.replace(b' xml:lang="de"', kept)
    silent = fragment.replace(b'value="Kopf"', b'value=""')
    assert codec.decode_folder(codec.parse_fragment(silent)).title == "T\u00eate"


@pytest.mark.parametrize("kind", ["document_entry", "submission_set", "folder"])
def test_a_fragment_for_another_patient_is_the_one_that_would_be_encoded(kind):
    encode = getattr(codec, f"encode_{kind}")

    @thorough
    @given(KINDS[kind], st.sampled_from(["P^^^&1.2.3&ISO", 'a"<&>\\1 \\g<1>^^^&1.2.3&ISO']), st.booleans())
    def law(value, patient_id, hostile):
        if hostile:
            # What looks like the identifier in a text is none.
            text = codec.encode_folder(a_folder()).decode()
            value = replace(value, title=text, extra_slots=(Slot("urn:x", (text[:200], text)),))
        moved = replace(value, patient_id=patient_id)
        assert codec.replace_patient_id(encode(value), patient_id) == encode(moved)

    law()


def test_a_fragment_without_a_patient_is_no_fragment_of_a_patient():
    with pytest.raises(ValueError, match="names 0"):
        codec.replace_patient_id(codec.encode_association(an_association("urn:uuid:1", "urn:uuid:2")), "P")


@pytest.mark.parametrize("prefix", ["r", None])
@pytest.mark.parametrize("kind", KINDS)
def test_prefixes_white_space_and_comments_mean_nothing(kind, prefix):
    encode, decode = getattr(codec, f"encode_{kind}"), getattr(codec, f"decode_{kind}")

    @settings(thorough, max_examples=15)
    @given(KINDS[kind])
    def law(value):
        assert same(decode(respelled(codec.parse_fragment(encode(value)), prefix)), value)

    law()


@thorough
@given(metadata.submissions())
def test_every_submission_survives_its_message(submission):
    decoded = codec.decode_submission(codec.parse_fragment(codec.encode_submission(submission)))

    assert decoded.errors == ()
    assert decoded.warnings == ()
    assert decoded.submission is not None
    assert same(decoded.submission, submission)


@thorough
@given(st.lists(st.one_of(*KINDS.values()), max_size=4, unique_by=lambda value: value.entry_uuid))
def test_every_answer_survives_its_message(values):
    encoders = {
        "DocumentEntry": codec.encode_document_entry,
        "SubmissionSet": codec.encode_submission_set,
        "Folder": codec.encode_folder,
        "Association": codec.encode_association,
    }
    fragments = b"".join(encoders[type(value).__name__](value) for value in values)

    objects = codec.decode_objects(listed(fragments))

    decoded = objects.document_entries + objects.submission_sets + objects.folders + objects.associations
    assert objects.errors == ()
    assert sorted(map(repr, decoded)) == sorted(map(repr, values))


@thorough
@given(st.one_of(*KINDS.values()))
def test_every_fragment_validates(value):
    encode = {
        "DocumentEntry": codec.encode_document_entry,
        "SubmissionSet": codec.encode_submission_set,
        "Folder": codec.encode_folder,
        "Association": codec.encode_association,
    }[type(value).__name__]

    assert_valid_objects(encode(value))


@thorough
@given(metadata.submissions())
def test_every_submission_validates(submission):
    head = f'<l:SubmitObjectsRequest xmlns:l="{NS["lcm"]}" xmlns:rim="{RIM}">'.encode()

    assert_valid(head + codec.encode_submission(submission) + b"</l:SubmitObjectsRequest>", LCM)


@thorough
@given(metadata.submissions())
def test_encoding_is_a_pure_function_and_gives_every_object_its_own_id(submission):
    octets = codec.encode_submission(submission)

    assert codec.encode_submission(replace(submission)) == octets
    ids = codec.parse_fragment(octets).xpath("//@id")
    assert len(ids) == len(set(ids))


def test_nested_ids_are_symbolic_where_the_object_is_and_permanent_where_it_is():
    symbolic = codec.parse_fragment(codec.encode_document_entry(a_document_entry(entry_uuid="doc1")))
    permanent = codec.parse_fragment(codec.encode_document_entry(a_document_entry()))

    assert all(not found.startswith("urn:uuid:") for found in symbolic.xpath("*/@id"))
    assert all(is_uuid(found) for found in permanent.xpath("*/@id"))


def test_what_is_nested_names_its_object_and_its_type():
    element = codec.parse_fragment(codec.encode_document_entry(a_document_entry(entry_uuid="doc<&1")))

    assert set(element.xpath("*/@classifiedObject | */@registryObject")) == {"doc<&1"}
    kinds = {
        etree.QName(nested).localname: nested.get("objectType") for nested in element.xpath("*[@objectType]")
    }
    assert kinds == {
        "Classification": schemes.CLASSIFICATION_TYPE,
        "ExternalIdentifier": schemes.EXTERNAL_IDENTIFIER_TYPE,
    }


def test_the_version_is_written_in_digits_for_registered_objects_only():
    plain = codec.encode_document_entry(a_document_entry())
    registered = codec.encode_document_entry(a_document_entry(logical_id="urn:uuid:1", version=1))

    assert b"VersionInfo" not in plain
    assert b'<rim:VersionInfo versionName="1"/>' in registered


def test_a_code_without_display_name_is_shown_by_its_value():
    element = codec.parse_fragment(codec.encode_folder(a_folder(codes=(Code("IMG", "1.2.3"),))))

    assert codec.decode_folder(element).codes[0].display_name == "IMG"


def test_the_label_of_a_package_stands_inside_it():
    for encoded, node in (
        (codec.encode_submission_set(a_submission_set()), schemes.SUBMISSION_SET_NODE),
        (codec.encode_folder(a_folder()), schemes.FOLDER_NODE),
    ):
        assert codec.parse_fragment(encoded).xpath("*/@classificationNode") == [node]


def test_a_deprecated_status_is_written_and_read_back_from_an_answer():
    entry = a_document_entry(availability_status=AvailabilityStatus.DEPRECATED)

    assert codec.decode_document_entry(codec.parse_fragment(codec.encode_document_entry(entry))) == entry


def test_object_refs_are_written_with_their_home_and_read():
    fragment = codec.encode_object_ref("urn:uuid:1", "urn:oid:1.2") + codec.encode_object_ref("urn:uuid:2")

    objects = codec.decode_objects(listed(fragment))

    assert b'home="urn:oid:1.2"' in fragment
    assert objects.object_refs == ("urn:uuid:1", "urn:uuid:2")
    assert_valid_objects(fragment)


def test_metadata_update_is_representable():
    """The registry refuses it in ITI-42 and 61, hence it must be able to see it."""
    entry = a_document_entry(logical_id="urn:uuid:22222222-2222-4222-8222-222222222222", version=2)
    update = an_association(
        "urn:uuid:11111111-1111-4111-8111-111111111111",
        entry.entry_uuid,
        AssociationType.UPDATE_AVAILABILITY_STATUS,
        extra_slots=tuple(metadata.Slot(name, ("1",)) for name in sorted(schemes.METADATA_UPDATE_SLOTS)),
    )
    submission = a_submission(
        entry, associations=(update,), logical_id="urn:uuid:22222222-2222-4222-8222-222222222223"
    )

    decoded = codec.decode_submission(codec.parse_fragment(codec.encode_submission(submission)))

    assert decoded.errors == ()
    assert decoded.submission == submission
