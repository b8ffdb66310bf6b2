"""The conformance service on a socket: files are judged for programs and at browsers."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from conformance.corpus import metadata, signatures
from conformance.recognition import Kind
from conformance.validation import JUDGES, VALIDATORS
from tests.support.conformance import Served, conformance_served

GOOD = metadata.submission().encode()
BROKEN = GOOD.replace(b'name="languageCode"', b'name="language"')


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with conformance_served(tmp_path, max_file_bytes=200_000, max_reports=3) as one:
        yield one


def ids(report: dict[str, Any]) -> set[str]:
    return {one["id"] for one in report["findings"] if one["severity"] == "error"}


async def test_a_file_is_recognised_and_judged_and_its_report_stays_under_its_address(served: Served):
    answer = await served.post(BROKEN, "?name=set.xml")

    assert answer.status_code == 201
    report = answer.json()
    assert (report["source"], report["kind"], report["passed"]) == ("set.xml", "xds-metadata", False)
    assert "XDS-META-043" in ids(report)
    again = await served.http.get(served.base + answer.headers["location"])
    assert again.json() == report
    page = await served.http.get(served.base + answer.headers["x-validation-report-redirect"])
    assert "languageCode is absent" in page.text


async def test_a_file_is_taken_as_evs_takes_it(served: Served):
    message = {
        "validationService": {"name": "XDS", "validator": "xds-metadata"},
        "objects": [{"originalFileName": "/tmp/set.xml", "content": b64encode(GOOD).decode()}],
    }

    answer = await served.http.post(f"{served.base}/rest/validations", json=message)

    assert answer.status_code == 201
    assert answer.json()["source"] == "set.xml"
    assert not ids(answer.json())


async def test_json_that_is_no_request_is_what_is_to_be_judged(served: Served):
    answer = await served.http.post(f"{served.base}/rest/validations", json={"resourceType": "Bundle"})

    assert answer.json()["kind"] == "fhir"


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ({"objects": []}, "objects"),
        ({"objects": [{"content": "%%%"}]}, "no base64"),
        ({"objects": [{"content": ""}], "validationService": {"validator": "MAGIC"}}, "xds-metadata"),
    ],
)
async def test_a_request_that_cannot_be_read_says_what_would_be_right(
    served: Served, message: Any, told: str
):
    answer = await served.http.post(f"{served.base}/rest/validations", json=message)

    assert answer.status_code in (400, 422)
    assert told in answer.json()["detail"]


async def test_a_validator_that_is_named_judges_whatever_the_file_is(served: Served):
    answer = await served.post(GOOD, "?validator=hl7v2-adt")

    assert answer.json()["kind"] == "hl7v2-adt"
    assert not answer.json()["passed"]


async def test_the_validators_are_listed_and_are_all_that_there_are(served: Served):
    listed = (await served.http.get(f"{served.base}/rest/validators")).json()

    assert [one["name"] for one in listed] == [kind.value for kind in VALIDATORS]
    assert VALIDATORS.keys() == JUDGES.keys()
    assert Kind.UNKNOWN not in VALIDATORS


async def test_what_is_too_long_or_empty_is_refused_and_nothing_of_it_stays(served: Served):
    long, empty = await served.post(bytes(200_001)), await served.post(b"")

    assert (long.status_code, empty.status_code) == (413, 422)
    assert "xdsi validate" in long.json()["detail"]
    assert not list((served.folder / "uploads").iterdir())


async def test_reports_are_bounded_and_the_oldest_make_room(served: Served):
    places = [(await served.post(b"nothing", f"?name={n}")).headers["location"] for n in range(5)]

    answers = [(await served.http.get(served.base + place)).status_code for place in places]
    assert answers == [404, 404, 200, 200, 200]
    assert not list((served.folder / "uploads").iterdir())


@pytest.mark.parametrize("id", ["..%2F..%2Fetc%2Fpasswd", "x", "%00"])
async def test_an_id_that_nobody_was_given_is_not_found(served: Served, id: str):
    answer = await served.http.get(f"{served.base}/rest/validations/{id}/report")

    assert answer.status_code == 404


async def test_a_file_that_takes_too_long_gets_a_report_that_says_so(served: Served):
    object.__setattr__(served.service.parts.settings, "judgement_seconds", 0.001)

    answer = await served.post(GOOD)

    assert ids(answer.json()) == {"FILE-002"}


async def test_a_person_chooses_a_file_and_sees_what_is_wrong_where_by_which_clause(served: Served):
    answer = await served.posted(
        data={"token": await served.token(), "validator": ""}, files={"file": ("<b>set</b>.xml", BROKEN)}
    )

    assert answer.status_code == 303
    page = (await served.http.get(served.base + answer.headers["location"])).text
    for told in (
        "Failed",
        "languageCode is absent",
        "Right would be",
        "ITI TF-3",
        "XDS-META-043",
        "<code>line ",
    ):
        assert told in page
    assert "<b>set" not in page


def pem() -> str:
    return b"".join(one.public_bytes(Encoding.PEM) for one in signatures.trust()).decode()


def signed_by(signer: int) -> bytes:
    return signatures.signed_assertion(signatures.signers()[signer]).encode()


@pytest.mark.parametrize(("signer", "wrong"), [(0, set()), (2, {"XUA-027"})], ids=["trusted", "a stranger"])
async def test_who_may_sign_is_told_beside_a_file_within_json_and_on_the_page(
    served: Served, signer: int, wrong: set[str]
):
    file = signed_by(signer)
    beside = await served.post(file, f"?{urlencode({'trust': pem()})}")
    within = await served.http.post(
        f"{served.base}/rest/validations",
        json={"objects": [{"content": b64encode(file).decode()}], "trust": pem()},
    )
    page = await served.posted(
        data={"token": await served.token(), "trust": pem()}, files={"file": ("a.xml", file)}
    )
    at_browser = await served.page(f"/rest/validations/{page.headers['location'].split('/')[-1]}/report")

    assert [one.status_code for one in (beside, within, page, at_browser)] == [201, 201, 303, 200]
    for answer in (beside, within, at_browser):
        assert ids(answer.json()) == wrong
    assert not ids((await served.post(signed_by(2))).json())


@pytest.mark.parametrize(
    ("trust", "told"),
    [("x", "no certificate"), ("-----BEGIN PRIVATE KEY-----", "private key")],
)
async def test_who_may_sign_is_refused_where_it_is_no_certificate(served: Served, trust: str, told: str):
    beside = await served.post(GOOD, f"?trust={trust}")
    page = await served.posted(
        data={"token": await served.token(), "trust": trust}, files={"file": ("a.xml", GOOD)}
    )

    assert (beside.status_code, page.status_code) == (422, 422)
    assert told in beside.json()["detail"]
    assert told in page.text
    assert not list((served.folder / "uploads").iterdir())


async def test_a_report_is_taken_as_one_file_that_needs_nothing_else(served: Served):
    answer = await served.post(BROKEN, "?name=<b>set.xml")
    page = await served.page(answer.headers["x-validation-report-redirect"])
    (path,) = re.findall(r'href="(/reports/[^"]+/report\.html)" download', page.text)
    file = await served.page(path)

    assert file.headers["content-disposition"] == 'attachment; filename="report.html"'
    assert "XDS-META-043" in file.text
    assert "languageCode is absent" in file.text
    assert "&lt;b&gt;set.xml: <span" in file.text
    assert not re.search(r"<script|<link|src=|href=.?http", file.text)
    assert (await served.page(path.replace(answer.json()["id"], "A" * 22))).status_code == 404


async def test_a_form_without_its_token_or_without_a_file_is_told_so(served: Served):
    token = await served.token()

    foreign = await served.posted(data={"token": "x"}, files={"file": ("a.xml", GOOD)})
    without = await served.posted(data={"token": token}, files={"file": ("", b"")})
    unread = await served.posted(content=b"x", headers={"content-type": "multipart/form-data"})
    long = await served.posted(data={"token": token}, files={"file": ("a", bytes(300_000))})

    assert [one.status_code for one in (foreign, without, unread, long)] == [403, 400, 400, 413]
    assert "no file was chosen" in without.text.lower()
    assert all("<h1>" in one.text for one in (foreign, without, unread, long))


async def test_every_judgement_is_counted(served: Served):
    await served.post(GOOD)

    metrics = (await served.http.get(f"{served.base}/metrics")).text
    assert 'xdsi_transactions_total{outcome="success",transaction="Validate"} 1.0' in metrics
