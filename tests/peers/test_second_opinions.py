"""Second opinions on what the judge says: other programs and schemas agree, on the corpus and on ours."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from conformance.corpus import audit, feeds, mado, manifests, messages, metadata
from conformance.corpus.data_sets import part10
from conformance.findings import Severity
from conformance.validation import judge
from shared.security.issuer import AssertionContent, AssertionIssuer
from tests.support.certificates import certificate_of
from tests.support.schemas import AUDIT, DOCUMENTS, IMAGING, LCM, QUERY, assert_valid

pytestmark = [pytest.mark.peer]

#: What dciodvfy says of every manifest: tables that are older than what IHE adds.
OLDER = re.compile(
    r"enumerated value <(NUM|DATE|TIME)>|RetrieveURL|0x0008,0x1190|0x0040,0xe012", re.IGNORECASE
)


@pytest.fixture
def dciodvfy(tmp_path: Path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")

    def errors(octets: bytes) -> list[str]:
        path = tmp_path / "manifest.dcm"
        path.write_bytes(octets)
        ran = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False, timeout=60)
        lines = (ran.stdout + ran.stderr).splitlines()
        return [line for line in lines if line.startswith("Error") and not OLDER.search(line)]

    return errors


def test_dciodvfy_finds_no_error_in_a_good_manifest(dciodvfy):
    assert dciodvfy(part10(manifests.manifest())) == []


def test_dciodvfy_finds_no_error_in_a_good_mado_manifest(dciodvfy):
    assert dciodvfy(part10(mado.described())) == []


@pytest.mark.parametrize(
    "name",
    [
        "no Patient's Birth Date",
        "no Study Time",
        "no Series Number",
        "empty Content Date",
        "no evidence",
        "a series without UID",
        "no Manufacturer",
    ],
)
def test_what_dciodvfy_finds_is_found(dciodvfy, name: str):
    broken = manifests.manifest()
    manifests.MUTATIONS[name][1](broken)
    assert dciodvfy(part10(broken))
    assert not judge(part10(broken), name).passed


BODIES = {
    "ITI-42": (metadata.submission(), LCM),
    "ITI-18": (messages.query(messages.FIND_DOCUMENTS), QUERY),
    "ITI-18 answer": (messages.found(metadata.entry()), QUERY),
    "ITI-43": (messages.retrieve(), DOCUMENTS),
    "ITI-43 answer": (messages.retrieved("", "2.25.1001"), DOCUMENTS),
    "RAD-69": (messages.images(), IMAGING),
}


@pytest.mark.parametrize("name", BODIES)
def test_the_schema_finds_no_error_in_a_good_message(name: str):
    body, schema = BODIES[name]
    assert_valid(body.encode(), schema)


@pytest.mark.parametrize(
    "record", [audit.query(), audit.submission(), audit.retrieval(), audit.images(), audit.feed()]
)
def test_the_schema_finds_no_error_in_a_good_record(record: str):
    assert_valid(record.encode(), AUDIT)


def test_the_digest_of_a_signed_assertion_is_what_the_judge_computes():
    key = ec.generate_private_key(ec.SECP256R1())
    content = AssertionContent(name_id="dr.roe", audience="urn:oid:2.999.7")
    signed = AssertionIssuer("https://idp.example.org", key, certificate_of(key)).sign(content)

    report = judge(signed, "assertion")

    assert report.kind == "saml-assertion"
    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
    changed = judge(signed.replace(b"dr.roe", b"dr.doe"), "changed")
    assert "XUA-007" in {finding.id for finding in changed.findings}


def test_hl7apy_reads_the_good_feeds():
    hl7apy = pytest.importorskip("hl7apy.parser")
    for message in (feeds.ADMISSION, feeds.MERGE):
        assert hl7apy.parse_message(message, find_groups=False).msh.msh_10.value in ("42", "43")
