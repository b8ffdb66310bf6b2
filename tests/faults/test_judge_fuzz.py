"""No bytes crash a validator: whatever they are, there is a report, and it is none of a judge that failed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.corpus import signatures
from conformance.readers.dicom import every_item, read_dicom
from conformance.readers.http import MediaType, http_messages, parts
from conformance.readers.json import NotJson, read_json
from conformance.readers.source import Source
from conformance.readers.xml import NotXml, document
from conformance.recognition import HEAD, recognise
from conformance.rules.collation import NamedFile, collated
from conformance.trust import NoCertificates, certificates_of, trusting
from conformance.validation import judge
from tests.support.fuzzing import ENGINES, account_of
from tests.unit.conformance.corpus import CORPUS

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(3600)]

INPUTS, LONG_INPUTS = 400, 200_000
EXAMPLES = [one.octets for one in CORPUS]
ANY_BYTES = st.one_of(
    st.binary(max_size=400),
    st.builds(
        lambda octets, at, length, more: (
            octets[: at % len(octets)] + more + octets[at % len(octets) + length :]
        ),
        st.sampled_from(EXAMPLES),
        st.integers(0, 100_000),
        st.integers(0, 40),
        st.binary(max_size=40),
    ),
)


@pytest.mark.parametrize("engine", ENGINES)
def test_no_input_crashes_a_judge_or_makes_it_fail(tmp_path: Path, long: bool, engine: str):
    inputs = LONG_INPUTS if long else INPUTS

    account = account_of("tests.support.judge_fuzz", engine, inputs, tmp_path)

    assert account["inputs"] >= inputs


def _read_xml(octets: bytes) -> None:
    try:
        document(Source.of(octets))
    except NotXml:
        return


def _read_json(octets: bytes) -> None:
    try:
        read_json(Source.of(octets), "$")
    except NotJson:
        return


def _read_http(octets: bytes) -> None:
    with ExitStack() as opened:
        for message in http_messages(Source.of(octets), opened):
            media_type = MediaType.of(message.headers.get("content-type") or "")
            with suppress(ValueError):
                list(parts(message.body, media_type.parameters.get("boundary", "b")))


READERS: dict[str, Callable[[bytes], object]] = {
    "what it is": lambda octets: recognise(octets[:HEAD]),
    "DICOM": lambda octets: list(every_item(read_dicom(octets).data_set)),
    "XML": _read_xml,
    "JSON": _read_json,
    "HTTP": _read_http,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS.keys())
@given(octets=ANY_BYTES)
def test_a_reader_ends_with_what_it_says_it_ends_with(reader: Callable[[bytes], object], octets: bytes):
    reader(octets)


@given(first=ANY_BYTES, second=st.sampled_from(EXAMPLES))
def test_files_are_judged_together_whatever_they_are(first: bytes, second: bytes):
    _, findings = collated([NamedFile("first", Source.of(first)), NamedFile("second", Source.of(second))])
    list(findings)


@given(
    st.sampled_from(range(4)),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_a_certificate_that_is_shown_may_be_anything(number: int, changes: list[tuple[int, int]]):
    signer = signatures.signers()[number]
    octets = bytearray(b64decode(signer.der))
    for at, octet in changes:
        octets[at % len(octets)] = octet
    shown = b64encode(octets).decode()
    with trusting(signatures.trust()):
        for text in (signatures.signed_assertion(signer), signatures.signed_token(signer)):
            report = judge(text.replace(signer.der, shown).encode(), "x")
            assert "FILE-002" not in {one.id for one in report.findings}, report.findings


def _pem(octets: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + b64encode(octets) + b"\n-----END CERTIFICATE-----\n"


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(_pem)))
def test_whom_to_trust_may_be_anything_that_is_sent(pem: bytes):
    try:
        certificates_of(pem)
    except NoCertificates:
        return


DEEP = 900


@pytest.mark.parametrize(
    "text",
    [
        '[{"00081140":{"vr":"SQ","Value":[' * DEEP + "{}" + "]}}" * DEEP + "]",
        '{"resourceType":"Bundle","entry":[' * DEEP + "{}" + "]}" * DEEP,
        '{"resourceType":"Bundle","extension":[' + '{"extension":[' * DEEP + "]}" * DEEP + "]}",
        "<ClinicalDocument xmlns='urn:hl7-org:v3'>"
        + "<component>" * 190
        + "</component>" * 190
        + "</ClinicalDocument>",
    ],
    ids=["DICOM JSON", "Bundles", "extensions", "CDA"],
)
def test_what_is_nested_deep_and_ends_gives_a_report(text: str):
    report = judge(text.encode(), "x")
    assert report.findings
    assert "FILE-002" not in {one.id for one in report.findings}, report.findings
