"""Content negotiation of DICOM web resources (PS3.18 8.7; imaging dossier 9.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.uids import (
    EXPLICIT_LE,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_XL,
    RLE,
)
from shared.imaging.negotiation import (
    Form,
    Malformed,
    NothingAcceptable,
    instances,
    media_ranges,
    metadata,
)
from shared.imaging.transfer_syntax import SHIPPED, AsStored, Impossible, Transcode

VIDEO = "1.2.840.10008.1.2.4.102"
MULTIPART = 'multipart/related; type="application/dicom"'


def chosen(accept, stored, *, pixels=True, single=False, size=100):
    acceptable = instances(accept, None, single=single)
    return acceptable.choose(stored, pixels, decoded_size=size, codecs=SHIPPED)


# --- forms -------------------------------------------------------------------------------------------

FORMS = {
    None: Form.MULTIPART_DICOM,
    "": Form.MULTIPART_DICOM,
    "*/*": Form.MULTIPART_DICOM,
    "multipart/*": Form.MULTIPART_DICOM,
    "multipart/related": Form.MULTIPART_DICOM,
    MULTIPART: Form.MULTIPART_DICOM,
    "multipart/related; type=application/dicom": Form.MULTIPART_DICOM,
    'MULTIPART/Related; Type="Application/DICOM"': Form.MULTIPART_DICOM,
    'multipart/related; type="application/*"': Form.MULTIPART_DICOM,
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": Form.MULTIPART_DICOM,
    f"image/jpeg, {MULTIPART};q=0.1": Form.MULTIPART_DICOM,
    "application/dicom": Form.SINGLE_DICOM,
    "application/*": Form.SINGLE_DICOM,
    f"application/dicom;q=0.9, {MULTIPART};q=0.8": Form.SINGLE_DICOM,
    "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2": Form.MULTIPART_DICOM,
    "*": Form.MULTIPART_DICOM,
    "*;q=.8": Form.MULTIPART_DICOM,
    "*/*; q=1.0000": Form.MULTIPART_DICOM,
    f"application/dicom;q=.9, {MULTIPART};q=0.80001": Form.SINGLE_DICOM,
    f"application/dicom;q=0.7, {MULTIPART};q=0.8": Form.MULTIPART_DICOM,
}


@pytest.mark.parametrize(("accept", "form"), FORMS.items(), ids=map(str, FORMS))
def test_an_instance_is_given_in_the_form_that_is_liked_best(accept, form):
    assert instances(accept, None, single=True).form is form


@pytest.mark.parametrize("accept", ["application/dicom", "application/*"])
def test_several_instances_are_never_a_single_part(accept):
    with pytest.raises(NothingAcceptable, match="multipart/related"):
        instances(accept, None, single=False)


@pytest.mark.parametrize(
    "accept",
    [
        "image/jpeg",
        "application/dicom+json",
        'multipart/related; type="application/octet-stream"',
        'multipart/related; type="image/jpeg"',
        "*/*;q=0",
        f"{MULTIPART};q=0.0",
    ],
)
def test_what_does_not_exist_is_not_acceptable(accept):
    with pytest.raises(NothingAcceptable):
        instances(accept, None, single=True)


@pytest.mark.parametrize(
    "accept",
    [
        "nonsense",
        "multipart/related; type",
        "*/*; q=2",
        "*/*; q=1.1",
        "*/*; q=1.0001",
        "*/*; q=-1",
        "*/*; q=half",
        "*/*; q=.",
        "*/* application/dicom",
        "/dicom",
        ", ".join(["a/b"] * 65),
    ],
)
def test_what_cannot_be_read_is_malformed(accept):
    with pytest.raises(Malformed):
        instances(accept, None, single=True)


def test_the_query_parameter_stands_before_the_header():
    assert instances(MULTIPART, "application/dicom", single=True).form is Form.SINGLE_DICOM


def test_the_header_counts_when_the_parameter_names_nothing_that_exists():
    assert instances("*/*", "image/jpeg", single=True).form is Form.MULTIPART_DICOM


@pytest.mark.parametrize("query", ["*/*", "application/*", 'multipart/related; type="application/*"'])
def test_the_query_parameter_takes_no_wildcards(query):
    with pytest.raises(Malformed, match="wildcard"):
        instances("*/*", query, single=True)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    try:
        found = media_ranges(text)
    except Malformed:
        return
    assert all(0 < one.quality <= 1 for one in found)


@pytest.mark.parametrize(
    "accept", [None, "*/*", "application/dicom+json", "application/json", "application/*"]
)
def test_metadata_is_json(accept):
    assert metadata(accept, None) is Form.JSON


@pytest.mark.parametrize(
    "accept",
    [
        'multipart/related; type="application/dicom+xml"',
        "multipart/related; type=application/dicom+xml",
        "multipart/related",
        "application/dicom+xml",
        'multipart/related; type="application/dicom+xml", application/dicom+json; q=0.1',
    ],
)
def test_metadata_is_xml_where_that_is_liked_best(accept):
    assert metadata(accept, None) is Form.XML


@pytest.mark.parametrize("accept", ["text/html", 'multipart/related; type="application/json"', MULTIPART])
def test_metadata_is_nothing_else(accept):
    with pytest.raises(NothingAcceptable, match="json"):
        metadata(accept, None)


# --- transfer syntaxes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "choice"),
    [
        (EXPLICIT_LE, AsStored()),
        (JPEG_LS_LOSSLESS, Transcode(EXPLICIT_LE)),
        (RLE, Transcode(EXPLICIT_LE)),
        (VIDEO, AsStored()),
        (JPEG_BASELINE, Transcode(EXPLICIT_LE)),
        (JPEG_XL, AsStored()),
    ],
)
def test_without_a_transfer_syntax_pixels_are_decoded_where_that_is_possible(stored, choice):
    assert chosen(MULTIPART, stored) == choice
    assert chosen("*/*", stored) == choice
    assert chosen(None, stored) == choice


def test_pixels_that_are_too_long_without_compression_stay_as_they_are():
    assert chosen(MULTIPART, JPEG_LS_LOSSLESS, size=2**32) == AsStored()


@pytest.mark.parametrize("stored", [EXPLICIT_LE, JPEG_LS_LOSSLESS, JPEG_LOSSLESS_SV1, VIDEO])
def test_a_star_gives_what_is_stored(stored):
    assert chosen(f"{MULTIPART}; transfer-syntax=*", stored) == AsStored()


@pytest.mark.parametrize(
    "accept",
    [
        f"{MULTIPART}; transfer-syntax={JPEG_LS_LOSSLESS}",
        f'multipart/related; type="application/dicom"; transfer-syntax="{JPEG_LS_LOSSLESS}"',
        f'multipart/related; type="application/dicom;transfer-syntax={JPEG_LS_LOSSLESS}"',
        f"multipart/related; transfer-syntax={JPEG_LS_LOSSLESS}; type=application/dicom",
    ],
)
def test_a_transfer_syntax_is_found_wherever_clients_write_it(accept):
    assert chosen(accept, JPEG_LS_LOSSLESS) == AsStored()
    assert chosen(accept, EXPLICIT_LE) == Transcode(JPEG_LS_LOSSLESS)


@pytest.mark.parametrize("stored", [EXPLICIT_LE, VIDEO, JPEG_LS_LOSSLESS])
def test_a_lossy_syntax_is_never_made(stored):
    choice = chosen(f"{MULTIPART}; transfer-syntax={JPEG_BASELINE}", stored)

    assert isinstance(choice, Impossible)


def test_the_next_best_range_is_taken_when_the_best_is_impossible():
    accept = f"{MULTIPART}; transfer-syntax={JPEG_2000_LOSSLESS}, {MULTIPART}; transfer-syntax=*; q=0.5"

    assert chosen(accept, JPEG_XL) == AsStored()
    assert chosen(accept, EXPLICIT_LE) == Transcode(JPEG_2000_LOSSLESS)


def test_ranges_that_are_liked_alike_are_a_set():
    accept = f"{MULTIPART}; transfer-syntax={JPEG_2000_LOSSLESS}, {MULTIPART}; transfer-syntax={EXPLICIT_LE}"

    assert chosen(accept, EXPLICIT_LE) == AsStored()
    assert chosen(accept, JPEG_2000_LOSSLESS) == AsStored()


def test_syntaxes_of_another_form_do_not_count():
    accept = f"{MULTIPART}, application/dicom; transfer-syntax=*; q=0.5"

    assert chosen(accept, JPEG_LS_LOSSLESS, single=True) == Transcode(EXPLICIT_LE)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_what_is_not_used_on_the_web_is_not_given_to_who_asks_for_it(syntax):
    accept = f"{MULTIPART}; transfer-syntax={syntax}"

    assert isinstance(chosen(accept, "1.2.840.10008.1.2.1"), Impossible)
    assert not isinstance(chosen(f"{accept}, {MULTIPART}", "1.2.840.10008.1.2.1"), Impossible)
