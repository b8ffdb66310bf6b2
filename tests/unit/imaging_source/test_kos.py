"""Reading manifests of other makers (imaging dossier 3.3 and 22, manifest reader)."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom import kos
from shared.dicom.kos import KosError, ManifestError, read_manifest
from shared.dicom.uids import DEFLATED_LE, EXPLICIT_LE, IMPLICIT_LE
from tests.support.dicom import STUDIES, real_files
from tests.support.kos import CT, a_kos, item, reference, series, study


def places(octets: bytes):
    return [
        (one.sop_instance_uid, of.retrieve_ae_title, of.retrieve_location_uid, of.retrieve_url)
        for _, of, one in read_manifest(octets).instances
    ]


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE])
def test_any_encoding_of_a_manifest_is_read(syntax):
    manifest = read_manifest(a_kos(syntax=syntax))

    assert (manifest.sop_instance_uid, manifest.title, manifest.patient_id) == ("2.25.1", "113030", "P1")
    assert [one.sop_instance_uid for _, _, one in manifest.instances] == ["2.25.51"]


def test_instances_are_in_the_order_of_their_numbers_where_references_say_them():
    numbered = [reference(at, InstanceNumber=number) for at, number in ((1, 10), (2, 9), (3, None), (4, 1))]
    plain = [reference(at) for at in (7, 5, 6)]

    manifest = read_manifest(a_kos(study(series(*numbered), series(*plain, uid="2.25.8"))))

    assert [one.sop_instance_uid[-1] for _, _, one in manifest.instances] == list("4213756")


def test_what_a_series_says_of_itself_is_read_in_the_character_set_of_the_manifest():
    described = series(Modality="MR", SeriesNumber=4, SeriesDescription="Schädel")

    manifest = read_manifest(a_kos(study(described), SpecificCharacterSet="ISO_IR 100"))

    [(_, read, _)] = manifest.instances
    assert (read.modality, read.number, read.description) == ("MR", "4", "Schädel")


def test_a_file_is_read_like_its_bytes(tmp_path):
    path = tmp_path / "manifest.dcm"
    path.write_bytes(a_kos())

    assert read_manifest(path) == read_manifest(a_kos())


def test_the_place_of_a_series_holds_for_its_instances():
    here = series(
        RetrieveAETitle="PACS", RetrieveLocationUID="1.2.3", RetrieveURL="https://pacs.example/dicomweb"
    )

    assert places(a_kos(study(here))) == [("2.25.51", "PACS", "1.2.3", "https://pacs.example/dicomweb")]


def test_the_place_of_an_instance_wins_over_that_of_its_series():
    elsewhere = reference(2, RetrieveLocationUID="1.2.9")
    here = series(reference(1), elsewhere, RetrieveAETitle="PACS", RetrieveLocationUID="1.2.3")

    assert places(a_kos(study(here))) == [("2.25.51", "PACS", "1.2.3", ""), ("2.25.52", "PACS", "1.2.9", "")]


def test_the_place_of_a_study_holds_where_series_have_none():
    assert places(a_kos(study(RetrieveLocationUID="1.2.3"))) == [("2.25.51", "", "1.2.3", "")]


def test_a_manifest_without_places_is_read():
    assert places(a_kos()) == [("2.25.51", "", "", "")]


@pytest.mark.parametrize(
    "url",
    [
        "https://pacs.example/dicomweb",
        "https://pacs.example/dicomweb/",
        "https://pacs.example/dicomweb/studies/2.25.3/series/2.25.4",
        "https://pacs.example/dicomweb/studies",
    ],
)
def test_a_retrieve_url_is_cut_to_its_base(url):
    assert places(a_kos(study(series(RetrieveURL=url))))[0][3] == "https://pacs.example/dicomweb"


def test_several_ae_titles_give_the_first():
    assert places(a_kos(study(series(RetrieveAETitle=["ONE", "TWO"]))))[0][1] == "ONE"


def test_several_studies_and_a_series_that_is_repeated_are_read():
    twice = study(
        series(reference(1), RetrieveLocationUID="1.2.1"), series(reference(2), RetrieveLocationUID="1.2.2")
    )
    manifest = read_manifest(a_kos(twice, study(series(reference(3), uid="2.25.44"), uid="2.25.33")))

    assert [one.study_instance_uid for one in manifest.studies] == ["2.25.3", "2.25.33"]
    assert [(of.series_instance_uid, of.retrieve_location_uid) for of in manifest.studies[0].series] == [
        ("2.25.4", "1.2.1"),
        ("2.25.4", "1.2.2"),
    ]


def test_any_title_and_none_is_read():
    other = item(CodeValue="113000", CodingSchemeDesignator="DCM", CodeMeaning="Of Interest")

    assert read_manifest(a_kos(ConceptNameCodeSequence=[other])).title == "113000"
    assert read_manifest(a_kos(ConceptNameCodeSequence=[])).title == ""


def test_names_are_read_in_their_character_set():
    octets = a_kos(SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jürgen")

    assert read_manifest(octets).patient_name == "Müller^Jürgen"


def test_private_attributes_do_not_matter():
    private = series()
    private.private_block(0x0009, "SOMEBODY", create=True).add_new(0x01, "LO", "x")

    assert places(a_kos(study(private)))[0][0] == "2.25.51"


def test_ten_thousand_instances_are_read():
    manifest = read_manifest(a_kos(study(series(*map(reference, range(10_000))))))

    assert sum(1 for _ in manifest.instances) == 10_000


REFUSED = {
    "no DICOM": b"PDF-1.4",
    "nothing": b"",
    "another SOP class": a_kos(SOPClassUID=CT),
    "no reference": a_kos(study(series(item(ReferencedSOPClassUID=CT)))),
    "an empty evidence": a_kos(CurrentRequestedProcedureEvidenceSequence=[]),
    "no study": a_kos(study(uid="")),
    "no series": a_kos(study(series(uid=""))),
    "no identity": a_kos(SOPInstanceUID=""),
    "truncated": a_kos()[:-20],
}


def test_a_reference_without_class_is_followed_all_the_same():
    manifest = read_manifest(a_kos(study(series(reference(1), item(ReferencedSOPInstanceUID="2.25.52")))))

    assert [(one.sop_class_uid, one.sop_instance_uid) for _, _, one in manifest.instances] == [
        (CT, "2.25.51"),
        ("", "2.25.52"),
    ]
    assert manifest.faults == ()


NAMELESS = {
    "a reference": (study(series(reference(1), item(ReferencedSOPClassUID=CT))), "1 references left out"),
    "two references": (
        study(series(reference(1), item(), item(ReferencedSOPInstanceUID=""))),
        "2 references left out",
    ),
    "a reference to a path": (
        study(series(reference(1), item(ReferencedSOPInstanceUID="2.25/../1"))),
        "1 references left out",
    ),
    "a series": (study(series(reference(1)), series(reference(2), uid="")), "1 series left out"),
}


@pytest.mark.parametrize(("damaged", "fault"), NAMELESS.values(), ids=NAMELESS)
def test_what_names_nothing_does_not_cost_the_rest(damaged, fault):
    manifest = read_manifest(a_kos(damaged))

    assert [one.sop_instance_uid for _, _, one in manifest.instances] == ["2.25.51"]
    assert [told.startswith(fault) for told in manifest.faults] == [True]


def test_a_study_that_names_nothing_does_not_cost_another():
    manifest = read_manifest(a_kos(study(), study(series(reference(2)), uid="")))

    assert [one.sop_instance_uid for _, _, one in manifest.instances] == ["2.25.51"]
    assert manifest.faults == ("1 studies left out: no UID in (0020,000D)",)


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED)
def test_what_is_no_manifest_is_refused_in_words(octets):
    with pytest.raises(KosError) as refused:
        read_manifest(octets)

    assert str(refused.value)


def test_a_manifest_beyond_the_limit_is_not_looked_at(monkeypatch):
    monkeypatch.setattr(kos, "MAX_BYTES", 100)

    with pytest.raises(KosError, match="at most 100 bytes"):
        read_manifest(a_kos())


def test_a_bomb_is_refused_before_it_fills_the_memory():
    octets = a_kos(syntax=DEFLATED_LE)
    at = octets.index(b"DICM") + 4
    meta_length = int.from_bytes(octets[at + 8 : at + 12], "little") + 12
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(bytes(80 * 1024**2)) + deflater.flush()

    with pytest.raises(ManifestError):
        read_manifest(octets[: at + meta_length] + bomb)


@given(st.integers(132, 400), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused_and_nothing_else(at, value):
    octets = bytearray(a_kos())
    octets[at % len(octets)] = value
    with suppress(ManifestError):
        read_manifest(bytes(octets))


@pytest.mark.skipif(
    not STUDIES.is_dir(),
    reason="the real studies are not here; test_any_encoding_of_a_manifest_is_read has manifests made here",
)
def test_the_manifests_of_another_maker_are_read():
    found = [path for path in real_files(STUDIES) if path.name.startswith("2.25.")]

    for path in found:
        manifest = read_manifest(path)
        assert manifest.title == "113030"
        assert {of.retrieve_location_uid for _, of, _ in manifest.instances} == {"1.3.6.1.4.1.21367.102.1.1"}
    assert len(found) == 5
