"""Which transfer syntax an instance is given in (dossier rules of RAD-69 and WADO-RS)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.dicom.uids import (
    DEFLATED_LE,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEG_LS_LOSSLESS,
    JPEG_LS_NEAR,
    JPEG_XL,
    RLE,
    TRANSFER_SYNTAXES,
    VIDEO,
)
from shared.imaging.transfer_syntax import (
    MAX_ENCODED_SIZE,
    MAX_EXPLICIT_LENGTH,
    SHIPPED,
    AsStored,
    Impossible,
    Transcode,
    choose,
    choose_default,
)

H264 = "1.2.840.10008.1.2.4.102"
syntaxes = st.sampled_from(sorted(TRANSFER_SYNTAXES))


@given(stored=syntaxes, others=st.lists(syntaxes), has_pixels=st.booleans())
def test_what_is_listed_is_given_as_stored(stored, others, has_pixels):
    assert choose(stored, [*others, stored], has_pixels) == AsStored()


@given(stored=syntaxes, acceptable=st.lists(syntaxes), has_pixels=st.booleans(), size=st.integers(0, 2**40))
def test_what_is_given_is_listed_and_newly_encoded_without_loss(stored, acceptable, has_pixels, size):
    choice = choose(stored, acceptable, has_pixels, decoded_size=size)

    if isinstance(choice, Transcode) and has_pixels:
        assert choice.to in acceptable
        assert choice.to in {EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE, *SHIPPED.encodable}
    if isinstance(choice, AsStored) and has_pixels:
        assert stored in acceptable


@given(stored=syntaxes, acceptable=st.lists(syntaxes), has_pixels=st.booleans())
def test_the_order_of_the_list_means_nothing(stored, acceptable, has_pixels):
    assert choose(stored, acceptable, has_pixels) == choose(stored, acceptable[::-1], has_pixels)


@pytest.mark.parametrize(
    ("stored", "acceptable", "choice"),
    [
        (JPEG_LS_LOSSLESS, [EXPLICIT_LE], Transcode(EXPLICIT_LE)),
        (JPEG_LS_LOSSLESS, [JPEG_2000_LOSSLESS, EXPLICIT_LE], Transcode(EXPLICIT_LE)),
        (EXPLICIT_LE, [JPEG_2000_LOSSLESS], Transcode(JPEG_2000_LOSSLESS)),
        (EXPLICIT_LE, [RLE, JPEG_BASELINE], Transcode(RLE)),
        (JPEG_LS_NEAR, [IMPLICIT_LE], Transcode(IMPLICIT_LE)),
        (ENCAPSULATED_UNCOMPRESSED, [EXPLICIT_LE], Transcode(EXPLICIT_LE)),
        (DEFLATED_LE, [EXPLICIT_LE], Transcode(EXPLICIT_LE)),
        (EXPLICIT_LE, ["1.2.3.4", EXPLICIT_LE], AsStored()),
        (JPEG_BASELINE, ["*"], AsStored()),
    ],
)
def test_pixels_are_given_as_asked(stored, acceptable, choice):
    assert choose(stored, acceptable, True) == choice


@pytest.mark.parametrize(
    ("stored", "acceptable"),
    [
        (EXPLICIT_LE, []),
        (EXPLICIT_LE, [""]),
        (EXPLICIT_LE, ["1.2.3.4"]),
        (EXPLICIT_LE, [JPEG_BASELINE]),
        (EXPLICIT_LE, [JPEG_2000]),
        (H264, [EXPLICIT_LE]),
        (JPEG_XL, [EXPLICIT_LE]),
        (EXPLICIT_BE, [EXPLICIT_LE]),
    ],
)
def test_what_cannot_be_given_says_why(stored, acceptable):
    choice = choose(stored, acceptable, True)

    assert isinstance(choice, Impossible)
    assert choice.reason


@pytest.mark.parametrize("unknown", [[], [""], ["1.2.3.4"]])
def test_a_list_of_unknown_syntaxes_is_met_by_nothing_even_without_pixels(unknown):
    assert isinstance(choose(EXPLICIT_LE, unknown, False), Impossible)


@pytest.mark.parametrize("stored", [JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1])
def test_every_installation_decodes_jpeg(stored):
    assert choose(stored, [EXPLICIT_LE], True) == Transcode(EXPLICIT_LE)


@pytest.mark.parametrize(
    ("stored", "acceptable", "choice"),
    [
        (EXPLICIT_LE, [JPEG_BASELINE], AsStored()),
        (IMPLICIT_LE, [JPEG_BASELINE], Transcode(EXPLICIT_LE)),
        (EXPLICIT_LE, [JPEG_BASELINE, IMPLICIT_LE], Transcode(IMPLICIT_LE)),
        (IMPLICIT_LE, [EXPLICIT_LE, IMPLICIT_LE], AsStored()),
        (JPEG_BASELINE, [IMPLICIT_LE, EXPLICIT_LE], Transcode(EXPLICIT_LE)),
    ],
)
def test_without_pixels_an_uncompressed_syntax_always_serves(stored, acceptable, choice):
    assert choose(stored, acceptable, False) == choice


def test_pixels_too_long_for_a_plain_value_are_not_decompressed():
    too_long = MAX_EXPLICIT_LENGTH + 1

    assert isinstance(choose(JPEG_LS_LOSSLESS, [EXPLICIT_LE], True, decoded_size=too_long), Impossible)
    assert choose(JPEG_LS_LOSSLESS, [EXPLICIT_LE], True, decoded_size=too_long - 1) == Transcode(EXPLICIT_LE)


def test_pixels_too_large_for_a_worker_are_not_compressed():
    assert isinstance(choose(EXPLICIT_LE, [RLE], True, decoded_size=MAX_ENCODED_SIZE + 1), Impossible)


@pytest.mark.parametrize(
    ("stored", "size", "choice"),
    [
        (EXPLICIT_LE, 32, AsStored()),
        (IMPLICIT_LE, 32, Transcode(EXPLICIT_LE)),
        (JPEG_LS_LOSSLESS, 32, Transcode(EXPLICIT_LE)),
        (JPEG_LS_LOSSLESS, MAX_EXPLICIT_LENGTH + 1, AsStored()),
        (JPEG_LOSSLESS_SV1, 32, Transcode(EXPLICIT_LE)),
        (JPEG_XL, 32, AsStored()),
        (H264, 32, AsStored()),
    ],
)
def test_without_a_wish_the_default_is_explicit_or_else_as_stored(stored, size, choice):
    assert choose_default(stored, True, decoded_size=size) == choice


def test_video_is_never_decoded_whatever_decoders_claim():
    codecs = replace(SHIPPED, decodable=SHIPPED.decodable | VIDEO)

    assert all(isinstance(choose(syntax, [EXPLICIT_LE], True, codecs=codecs), Impossible) for syntax in VIDEO)
