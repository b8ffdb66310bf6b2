"""What of a study is shared (imaging dossier 3.7 and 4.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imaging_source.domain.selection import KeyObject, hidden, key_object, key_objects, shareable
from shared.dicom.uids import KEY_OBJECT_SELECTION
from shared.imaging.instance import Issuer
from tests.support.studies import an_instance

IMAGE = an_instance()
OTHER = an_instance(sop_instance_uid="2.25.503")
NOTE = an_instance(sop_instance_uid="2.25.600", sop_class_uid=KEY_OBJECT_SELECTION, modality="KO")


def said(title: str, *references: str) -> KeyObject:
    return KeyObject(
        sop_instance_uid="2.25.600",
        title=title,
        references=frozenset(references),
        study_instance_uid=IMAGE.study_instance_uid,
        patient_id=IMAGE.patient_id,
    )


def test_the_documents_that_decide_are_found_by_their_sop_class():
    assert key_objects([IMAGE, NOTE]) == (NOTE,)


def test_without_notes_everything_is_shared():
    assert shareable([IMAGE, OTHER], ()) == (IMAGE, OTHER)


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_a_rejection_note_hides_what_it_names_and_itself(title):
    note = said(title, IMAGE.sop_instance_uid)

    assert shareable([IMAGE, OTHER, NOTE], [note]) == (OTHER,)
    assert hidden([IMAGE, OTHER, NOTE], [note]) == {"2.25.600", IMAGE.sop_instance_uid}


@pytest.mark.parametrize("title", ["113030", "113031", "131560"])
def test_a_manifest_is_not_in_a_manifest_but_can_be_retrieved(title):
    note = said(title, IMAGE.sop_instance_uid)

    assert shareable([IMAGE, NOTE], [note]) == (IMAGE,)
    assert hidden([IMAGE, NOTE], [note]) == frozenset()


@pytest.mark.parametrize(
    "elsewhere",
    [
        {"study_instance_uid": "2.25.900"},
        {"patient_id": "P2"},
        {"issuer_of_patient_id": Issuer("", "1.2.3", "ISO")},
    ],
    ids=str,
)
def test_a_rejection_note_speaks_of_its_own_study_and_patient_alone(elsewhere):
    note = replace(said("113001", IMAGE.sop_instance_uid), issuer_of_patient_id=Issuer("", "1.2.9", "ISO"))
    image = IMAGE._replace(issuer_of_patient_id=Issuer("", "1.2.9", "ISO"))

    assert hidden([image], [note]) == {"2.25.600", image.sop_instance_uid}
    assert hidden([image._replace(**elsewhere)], [note]) == {"2.25.600"}


def test_what_is_set_aside_or_has_no_uid_is_not_shared():
    path = OTHER._replace(sop_instance_uid="..")

    assert shareable([IMAGE, OTHER, path], (), frozenset({OTHER.sop_instance_uid})) == (IMAGE,)


def test_a_key_image_note_is_shared_as_any_other_instance():
    assert shareable([IMAGE, NOTE], [said("113000", IMAGE.sop_instance_uid)]) == (IMAGE, NOTE)


def test_a_document_is_read_from_its_dicom_json():
    def sequence(*items):
        return {"vr": "SQ", "Value": list(items)}

    def uid(value):
        return {"vr": "UI", "Value": [value]}

    metadata = {
        "00080018": uid("2.25.600"),
        "0040A043": sequence({"00080100": {"vr": "SH", "Value": ["113001"]}}),
        "0040A375": sequence(
            {
                "00081115": sequence(
                    {"00081199": sequence({"00081155": uid("2.25.1")}, {"00081155": uid("2.25.2")})}
                )
            }
        ),
    }

    assert key_object(metadata) == KeyObject(
        sop_instance_uid="2.25.600", title="113001", references=frozenset({"2.25.1", "2.25.2"})
    )
    assert key_object({}) == KeyObject(sop_instance_uid="", title="")
