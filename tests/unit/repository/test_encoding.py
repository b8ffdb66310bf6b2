"""Blobs at rest: what was encoded comes back to the byte, and what was touched does not come back at all."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repository.settings import RepositorySettings
from repository.store.encoding import FRAME_BYTES, Encoding, EncodingError, is_text, printed_keys, read_key
from repository.store.stores import encoding_of
from shared.settings import SettingsError

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
TEXT = b"<ClinicalDocument>the same again and again</ClinicalDocument>\n" * 9_000

encodings = st.sampled_from(
    [Encoding([KEY]), Encoding(compress=True), Encoding([KEY], compress=True), Encoding([KEY, OTHER_KEY])]
)


def encoded(encoding: Encoding, octets: bytes, mime_type: str = "text/xml") -> tuple[str, bytes | None]:
    """The digest of `octets`, and what stands at rest; None when they stay as they are."""
    sha256 = hashlib.sha256(octets).hexdigest()
    with TemporaryDirectory() as folder:
        plain, target = Path(folder) / "plain", Path(folder) / "target"
        plain.write_bytes(octets)
        made = encoding.encode(plain, target, sha256=sha256, mime_type=mime_type)
        assert made == target.exists()
        return sha256, target.read_bytes() if made else None


def decoded(encoding: Encoding, sha256: str, at_rest: bytes, step: int = 1_000_000) -> bytes:
    chunks = (at_rest[start : start + step] for start in range(0, len(at_rest), step))
    return b"".join(encoding.decode(chunks, sha256=sha256))


@settings(max_examples=60)
@given(
    encodings,
    st.one_of(st.binary(max_size=2_000), st.integers(0, 3).map(lambda n: TEXT[: n * FRAME_BYTES // 2])),
    st.integers(1, 3_000),
)
def test_a_document_comes_back_byte_for_byte_whatever_the_chunks(encoding, octets, step):
    sha256, at_rest = encoded(encoding, octets)
    if at_rest is not None:
        assert decoded(encoding, sha256, at_rest, max(step, len(at_rest) // 50)) == octets


@pytest.mark.parametrize("size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES])
def test_sizes_around_a_frame_come_back(size: int):
    octets = os.urandom(size)
    sha256, at_rest = encoded(Encoding([KEY]), octets)
    assert decoded(Encoding([KEY]), sha256, at_rest) == octets


@settings(max_examples=150)
@given(st.data())
def test_not_one_bit_of_an_encrypted_blob_can_be_changed(data):
    sha256, at_rest = encoded(Encoding([KEY], compress=True), TEXT[:5_000])
    at = data.draw(st.integers(0, len(at_rest) * 8 - 1))
    changed = bytearray(at_rest)
    changed[at // 8] ^= 1 << at % 8

    with pytest.raises(EncodingError):
        decoded(Encoding([KEY]), sha256, bytes(changed))


def frames(at_rest: bytes) -> list[bytes]:
    found, start = [], 33
    while start < len(at_rest):
        length = int.from_bytes(at_rest[start : start + 4], "big") & 0x7FFFFFFF
        found.append(at_rest[start : start + 4 + length])
        start += 4 + length
    return found


def test_frames_cannot_be_exchanged_left_out_cut_off_or_added():
    octets = os.urandom(4 * FRAME_BYTES)
    sha256, at_rest = encoded(Encoding([KEY]), octets)
    first, second, third, fourth = frames(at_rest)
    head = at_rest[:33]
    as_last = (int.from_bytes(third[:4], "big") | 1 << 31).to_bytes(4, "big") + third[4:]

    for other in (
        [second, first, third, fourth],
        [first, third, fourth],
        [first, second, third],
        [first, second, as_last],
        [first, second, third, fourth, fourth],
    ):
        with pytest.raises(EncodingError):
            decoded(Encoding([KEY]), sha256, head + b"".join(other))


def test_a_blob_is_bound_to_its_digest():
    _, at_rest = encoded(Encoding([KEY]), b"one")
    with pytest.raises(EncodingError):
        decoded(Encoding([KEY]), hashlib.sha256(b"two").hexdigest(), at_rest)


def test_nothing_of_an_encrypted_document_stands_at_rest_and_no_two_blobs_are_alike():
    secret = b"Doe^Jane was here"
    _, first = encoded(Encoding([KEY]), secret)
    _, second = encoded(Encoding([KEY]), secret)
    assert secret not in first
    assert first[33:] != second[33:]


def test_after_a_change_of_keys_old_blobs_are_still_read():
    sha256, at_rest = encoded(Encoding([OTHER_KEY]), b"old")
    assert decoded(Encoding([KEY, OTHER_KEY]), sha256, at_rest) == b"old"
    with pytest.raises(EncodingError, match="not among XDSI_ENCRYPTION_KEYS"):
        decoded(Encoding([KEY]), sha256, at_rest)


def test_text_shrinks_and_what_would_not_stays_as_it_is():
    encoding = Encoding(compress=True)
    assert len(encoded(encoding, TEXT)[1] or TEXT) < len(TEXT) / 10
    assert encoded(encoding, os.urandom(10_000))[1] is None
    assert encoded(encoding, TEXT, "application/dicom")[1] is None
    assert encoded(encoding, TEXT[:100])[1] is None


@pytest.mark.parametrize("mime_type", ["text/plain", "text/xml; charset=utf-8", "application/fhir+xml"])
def test_text_is_known_by_its_type(mime_type: str):
    assert is_text(mime_type)
    assert not is_text("application/pdf")


def test_a_key_file_holds_bytes_or_hexadecimal_digits(tmp_path: Path):
    path = tmp_path / "key"
    path.write_bytes(KEY)
    assert read_key(path) == KEY
    path.write_text(KEY.hex() + "\n", "ascii")
    assert read_key(path) == KEY
    for wrong in (b"", b"short", KEY + b"x", b"zz" * 32):
        path.write_bytes(wrong)
        with pytest.raises(SettingsError, match="32 bytes"):
            read_key(path)
    with pytest.raises(SettingsError):
        read_key(tmp_path / "absent")


def test_a_program_prints_keys_of_which_the_first_encrypts(tmp_path: Path):
    (tmp_path / "key").write_bytes(OTHER_KEY)
    printing = (sys.executable, "-c", f"print('{KEY.hex()}')")
    configured = RepositorySettings.load(
        environ={}, encryption_key_command=printing, encryption_keys=(tmp_path / "key",)
    )
    sha256, octets = encoded(encoding_of(configured), TEXT)
    _, of_other = encoded(Encoding([OTHER_KEY]), TEXT)
    assert octets is not None
    assert of_other is not None

    assert b"".join(Encoding([KEY]).decode(iter([octets]), sha256=sha256)) == TEXT
    assert b"".join(encoding_of(configured).decode(iter([of_other]), sha256=sha256)) == TEXT


@pytest.mark.parametrize(
    "program", ["", "print('secret')", "print('ab' * 31)", "raise SystemExit(1)", "print(b'\\xff')"]
)
def test_a_program_that_gives_no_key_is_named_and_nothing_of_what_it_printed(program: str):
    with pytest.raises(SettingsError, match="XDSI_ENCRYPTION_KEY_COMMAND") as refusal:
        printed_keys((sys.executable, "-c", program))
    assert "secret" not in str(refusal.value)


def test_a_program_that_is_not_there_gives_no_key(tmp_path: Path):
    with pytest.raises(SettingsError, match="gives no key"):
        printed_keys((str(tmp_path / "absent"),))
