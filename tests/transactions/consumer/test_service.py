"""The consumer as a service, in this process beside a real registry: what programs and browsers may do."""

from __future__ import annotations

import asyncio
import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from lxml import html

from consumer.pages import workplace
from shared.audit.events import Outcome
from shared.dicom.kos import Manifest, ReferencedInstance, ReferencedSeries, ReferencedStudy
from shared.ebrim.model import Code
from shared.ebrim.schemes import REFERENCE_STUDY_INSTANCE_UID
from shared.http.problem import Unprocessable
from shared.pages.handles import LIFETIME_SECONDS
from shared.pages.sessions import IDLE_SECONDS
from shared.pages.site import POLICY
from tests.support.assertions import edited, without_signature
from tests.support.certificates import assertion_for, communities, stranger
from tests.support.consumer import Desk, desk, saml, search, sign_in, token_of
from tests.support.http_server import until
from tests.support.metadata import OTHER_PATIENT, PATIENT, Timestamp, a_document_entry, an_on_demand_entry

ASK = {"patient_id": "P-1001"}
PROBLEM = "application/problem+json"


@pytest.fixture
async def open_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """On loopback without TLS, where assertions are optional."""
    async with desk(tmp_path) as made:
        yield made


@pytest.fixture
async def strict_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With TLS and hence with assertions; nodes show their certificates."""
    async with desk(tmp_path, tls=True) as made:
        yield made


@pytest.fixture
def viewer(strict_desk: Desk) -> httpx2.AsyncClient:
    """A browser or program at a node of North."""
    return strict_desk.client(communities()[0])


# --- programs: what they ask -------------------------------------------------------------------------


async def test_the_studies_of_a_patient_and_of_no_other_are_answered_newest_first(open_desk: Desk):
    old, new = (
        a_document_entry(title=title, service_start_time=Timestamp(title)) for title in ("2020", "2024")
    )
    await open_desk.register(old, new, a_document_entry(patient_id=OTHER_PATIENT))

    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK)

    assert answer.status_code == 200
    assert [study["title"] for study in answer.json()["studies"]] == ["2024", "2020"]
    assert answer.json()["complete"] is True
    shown = answer.json()["studies"][0]
    assert (shown["document_unique_id"], shown["repository_unique_id"]) == (
        new.unique_id,
        new.repository_unique_id,
    )
    assert answer.headers["cache-control"] == "no-store"


async def test_entries_on_demand_are_found_with_the_others_and_told_apart(open_desk: Desk):
    of_another_study = (f"2.25.77^^^^{REFERENCE_STUDY_INSTANCE_UID}",)
    await open_desk.register(
        a_document_entry(title="as it was"),
        an_on_demand_entry(title="as it is", reference_ids=of_another_study),
    )

    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK)
        page = await program.get((await search(program, "P-1001")).headers["location"])

    assert {study["title"]: study["on_demand"] for study in answer.json()["studies"]} == {
        "as it was": False,
        "as it is": True,
    }
    assert page.text.count("on demand: as the study is when you open it") == 1


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"modalities": ["ct"]}, ["2020", "2024"]),
        ({"modalities": ["MR"]}, []),
        ({"since": "2022"}, ["2024"]),
        ({"before": "2022-01-01"}, ["2020"]),
    ],
)
async def test_they_are_narrowed_down_by_modality_and_time(
    open_desk: Desk, narrowed: dict, expected: list[str]
):
    await open_desk.register(
        *(a_document_entry(title=year, service_start_time=Timestamp(year)) for year in ("2020", "2024"))
    )
    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK | narrowed)

    assert sorted(study["title"] for study in answer.json()["studies"]) == expected


async def test_an_answer_is_bounded_and_says_that_there_is_more(open_desk: Desk):
    await open_desk.register(*(a_document_entry() for _ in range(3)))

    async with open_desk.client() as program:
        two = (await program.post("/api/studies", json=ASK | {"limit": 2})).json()
        too_many = await program.post("/api/studies", json=ASK | {"limit": 1001})

    assert (len(two["studies"]), two["complete"]) == (2, False)
    assert too_many.status_code == 400


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"{", "body"),
        (b"{}", "patient_id"),
        (b'{"patient_id": ""}', "patient_id"),
        (b'{"patient_id": "SECRET^x"}', "patient_id"),
        (b'{"patient_id": "SECRET", "since": "20241399"}', "since"),
        (b'{"patient_id": "SECRET", "before": "yesterday"}', "before"),
        (b'{"patient_id": "SECRET", "modalities": ["<CT>"]}', "modalities"),
        (b'{"patient_id": "SECRET", "colour": "red"}', "body"),
        (b'{"patient_id": ["SECRET"]}', "patient_id"),
        (b"\xff\xfe", "body"),
    ],
)
async def test_what_cannot_be_read_is_told_by_name_and_not_repeated(open_desk: Desk, body: bytes, named: str):
    async with open_desk.client() as program:
        answer = await program.post(
            "/api/studies", content=body, headers={"content-type": "application/json"}
        )

    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM)
    assert answer.json()["detail"].startswith(named)
    assert "SECRET" not in answer.text
    assert open_desk.wire.sent == []


async def test_a_body_that_is_too_large_or_no_json_is_refused(open_desk: Desk):
    async with open_desk.client() as program:
        large = await program.post("/api/studies", json={"patient_id": "P" * 70_000})
        form = await program.post("/api/studies", data=ASK)

    assert (large.status_code, form.status_code) == (413, 415)


async def test_a_manifest_that_does_not_exist_and_one_of_another_repository_are_answered_alike(
    open_desk: Desk,
):
    entry = a_document_entry()
    await open_desk.register(entry)
    unknown = {"document_unique_id": "2.25.404", "repository_unique_id": entry.repository_unique_id}
    elsewhere = {"document_unique_id": entry.unique_id, "repository_unique_id": "2.25.405"}

    async with open_desk.client() as program:
        answers = [await program.post("/api/manifests", json=body) for body in (unknown, elsewhere)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content


# --- programs: for whom ------------------------------------------------------------------------------


async def test_without_an_assertion_where_one_is_needed_the_answer_tells_what_to_send(
    strict_desk: Desk, viewer
):
    answer = await viewer.post("/api/studies", json=ASK)

    assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
    assert "Authorization: SAML <base64" in answer.json()["detail"]
    assert answer.headers["www-authenticate"].startswith("SAML ")


def _refused_assertions() -> dict[str, dict[str, str]]:
    good = assertion_for("dr.roe")
    yesterday = datetime.now(UTC) - timedelta(days=1)
    return {
        "none": {},
        "forged": saml(edited(good, b"dr.roe", b"dr.doe")),
        "unsigned": saml(without_signature(good)),
        "of a stranger": saml(assertion_for("dr.roe", stranger())),
        "expired": saml(assertion_for("dr.roe", not_before=yesterday)),
        "for another domain": saml(assertion_for("dr.roe", audience="urn:oid:2.999.1")),
        "empty": {"authorization": "SAML "},
        "no base64": {"authorization": "SAML <Assertion/>"},
        "too large": saml(good + b" " * 100_000),
        "of another scheme": {"authorization": f"Bearer {b64encode(good).decode()}"},
    }


@pytest.mark.parametrize("which", _refused_assertions())
@pytest.mark.parametrize(
    "call", [("POST", "/api/studies"), ("POST", "/api/manifests"), ("GET", "/api/instances/x")]
)
async def test_an_assertion_that_is_not_good_is_refused_and_recorded_before_anything_is_asked(
    strict_desk: Desk, viewer, which: str, call: tuple[str, str]
):
    answer = await viewer.request(*call, json=ASK, headers=_refused_assertions()[which])

    assert answer.status_code == 401
    [event] = strict_desk.told("110114")
    assert event.outcome is Outcome.SERIOUS_FAILURE
    assert strict_desk.wire.sent == []


async def test_where_assertions_are_optional_a_bad_one_is_refused_all_the_same(open_desk: Desk):
    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK, headers=_refused_assertions()["forged"])

    assert answer.status_code == 401


async def test_a_foreign_node_without_a_user_does_not_get_our_own_sight(tmp_path: Path):
    _, south = communities()
    async with desk(tmp_path, tls=True, xua="optional") as made, made.client(south) as program:
        alone = await program.post("/api/studies", json=ASK)
        with_user = await program.post("/api/studies", json=ASK, headers=saml(assertion_for("dr.roe")))

    assert (alone.status_code, with_user.status_code) == (401, 200)


async def test_a_node_that_nobody_named_asks_for_no_user_either(strict_desk: Desk):
    async with strict_desk.client(stranger()) as program:
        answer = await program.post("/api/studies", json=ASK, headers=saml(assertion_for("dr.roe")))
        page = await program.get("/")
        signed_in = await sign_in(program, assertion_for("dr.roe"))

    assert (answer.status_code, page.status_code, signed_in.status_code) == (403, 403, 403)
    assert ["XDSI_RIGHTS__ASK" in one.text for one in (answer, page, signed_in)] == [True] * 3
    # The others within a minute are counted and not told apart.
    assert len(strict_desk.told("110113")) == 1
    assert strict_desk.wire.sent == []


async def test_the_users_own_assertion_is_passed_on_to_the_byte(strict_desk: Desk, viewer):
    assertion = assertion_for("dr.roe")
    answer = await viewer.post("/api/studies", json=ASK, headers=saml(assertion))

    assert answer.status_code == 200
    assert strict_desk.wire.sent
    assert all(assertion in sent for sent in strict_desk.wire.sent)


async def test_the_consumers_record_names_the_user_and_the_patient(strict_desk: Desk, viewer):
    await viewer.post("/api/studies", json=ASK, headers=saml(assertion_for("dr.roe")))

    queries = strict_desk.told("110112")
    assert queries
    for query in queries:
        assert [one.user_id for one in query.participants if one.requestor] == [
            f"<dr.roe@{communities()[0].issuer}>"
        ]
        assert query.objects[0].object_id == PATIENT
        assert query.outcome is Outcome.SUCCESS


KOS = "1.2.840.10008.5.1.4.1.1.88.59"


@pytest.mark.parametrize(
    "scheme",
    ["1.2.840.10008.2.6.1", "1.2.840.10008.2.16.4", "DCM", "1.3.6.1.4.1.19376.1.2.3", "1.2.276.0.76.11.32"],
)
async def test_a_manifest_is_found_whatever_the_scheme_of_its_format_code(open_desk: Desk, scheme: str):
    await open_desk.register(
        a_document_entry(title="CT of the chest", format_code=Code(KOS, scheme, "Manifest")),
        a_document_entry(title="a letter", format_code=Code("urn:ihe:iti:xds-sd:pdf:2008", scheme, "PDF")),
    )

    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK)

    assert [study["title"] for study in answer.json()["studies"]] == ["CT of the chest"]


async def test_a_modality_is_found_under_either_spelling_of_its_scheme(open_desk: Desk):
    for number, scheme in enumerate(("1.2.840.10008.2.16.4", "DCM")):
        await open_desk.register(
            a_document_entry(title=f"CT {number}", event_codes=(Code("CT", scheme, "Computed Tomography"),))
        )

    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json={**ASK, "modalities": ["CT"]})

    assert {study["title"] for study in answer.json()["studies"]} == {"CT 0", "CT 1"}


async def test_nothing_is_answered_that_cannot_be_recorded(open_desk: Desk):
    await open_desk.register(a_document_entry(title="CT of the chest"))
    open_desk.recorder.full = True

    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK)

    assert answer.status_code == 503
    assert "audit" in answer.json()["detail"]
    assert "chest" not in answer.text


# --- peers that fail ---------------------------------------------------------------------------------


async def test_a_registry_that_is_away_is_told_as_such(open_desk: Desk):
    open_desk.wire.away = httpx2.ConnectError("refused")
    async with open_desk.client() as program:
        answer = await program.post("/api/studies", json=ASK)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == "the registry cannot be reached now; try again later"
    [event] = open_desk.told("110112")
    assert event.outcome is Outcome.SERIOUS_FAILURE


async def test_a_registry_that_is_silent_is_waited_for_so_long_and_no_longer(tmp_path: Path):
    async with desk(tmp_path, answer_seconds=0.2) as made, made.client() as program:
        made.wire.silent = True
        answer = await program.post("/api/studies", json=ASK)
        recorded = made.told("110112")

    assert answer.status_code == 502
    assert answer.json()["detail"] == "the registry gave no answer within 0.2 s; try again later"
    assert [event.outcome for event in recorded] == [Outcome.SERIOUS_FAILURE]


async def test_an_error_of_the_registry_passes_through_with_its_code(tmp_path: Path):
    async with desk(tmp_path, registry={"query_limit": 2}) as made, made.client() as program:
        await made.register(*(a_document_entry() for _ in range(3)))
        answer = await program.post("/api/studies", json=ASK)

    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert (error["code"], error["severity"]) == ("XDSTooManyResults", "Error")


async def test_an_assertion_that_the_registry_alone_refuses_is_told_as_its_refusal(tmp_path: Path):
    changes = {"registry": {"assertion": {"issuers": {}}}}
    async with desk(tmp_path, **changes) as made, made.client() as program:
        answer = await program.post("/api/studies", json=ASK, headers=saml(assertion_for("dr.roe")))

    assert answer.status_code == 403
    assert "the registry does not accept the user's assertion" in answer.json()["detail"]


async def test_what_is_fetched_at_once_is_bounded_and_the_rest_is_told_to_wait(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(workplace, "_PATIENCE_SECONDS", 0.05)
    body = {"document_unique_id": "2.25.1", "repository_unique_id": "2.25.2"}
    async with desk(tmp_path, fetches=1) as made, made.client() as program:
        made.wire.silent = True
        first = asyncio.create_task(program.post("/api/manifests", json=body))
        await until(lambda: bool(made.wire.sent))
        second = await program.post("/api/manifests", json=body)
        first.cancel()

    assert (second.status_code, second.headers["retry-after"]) == (503, "5")
    assert "too much is being fetched" in second.json()["detail"]


def a_manifest(instances: int, series_uid: str = "2.25.12") -> Manifest:
    references = tuple(
        ReferencedInstance(sop_class_uid="1.2.3", sop_instance_uid=f"2.25.9{number}")
        for number in range(instances)
    )
    series = ReferencedSeries(series_instance_uid=series_uid, instances=references)
    study = ReferencedStudy(study_instance_uid="2.25.11", series=(series,))
    return Manifest(sop_instance_uid="2.25.1", study_instance_uid="2.25.11", studies=(study,))


def test_a_manifest_is_listed_if_it_holds_uids_alone():
    assert len(workplace._instances(a_manifest(5), a_document_entry())) == 5
    with pytest.raises(Unprocessable, match="not a manifest"):
        workplace._instances(a_manifest(1, "../../etc"), a_document_entry())


# --- what is not there -------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/nothing"), ("GET", "/api/studies"), ("PUT", "/")])
async def test_an_address_or_method_that_is_none_is_a_problem_too(open_desk: Desk, method: str, path: str):
    async with open_desk.client() as program:
        answer = await program.request(method, path)

    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == answer.status_code


async def test_it_says_how_it_is(open_desk: Desk):
    async with open_desk.client() as operator:
        await operator.post("/api/studies", json=ASK)
        open_desk.wire.away = httpx2.ConnectError("refused")
        await operator.post("/api/studies", json=ASK)
        live = await operator.get("/health/live")
        ready = await operator.get("/health/ready")
        metrics = await operator.get("/metrics")

    assert (live.status_code, ready.status_code, metrics.status_code) == (200, 200, 200)
    for line in (
        "xdsi_sessions 0.0",
        'xdsi_transactions_total{outcome="success",transaction="ITI-18"} 1.0',
        'xdsi_transactions_total{outcome="failure",transaction="ITI-18"} 1.0',
    ):
        assert line in metrics.text
    assert "P-1001" not in metrics.text


# --- pages -------------------------------------------------------------------------------------------


async def test_a_search_leads_to_an_address_that_names_nobody(open_desk: Desk):
    await open_desk.register(a_document_entry(title="CT of the chest"))
    async with open_desk.client() as browser:
        sent = await search(browser, "P-1001", modality="CT", since="2020-01-01")
        found = await browser.get(sent.headers["location"])

    assert sent.status_code == 303
    assert re.fullmatch(r"/searches/[A-Za-z0-9_-]+", sent.headers["location"])
    assert found.status_code == 200
    assert "CT of the chest" in found.text
    assert "P-1001" in found.text
    assert re.search(r'href="/studies/[A-Za-z0-9_-]+"', found.text)


async def test_nothing_found_is_told_kindly(open_desk: Desk):
    async with open_desk.client() as browser:
        found = await browser.get((await search(browser, "P-404")).headers["location"])

    assert found.status_code == 200
    assert "Nothing found" in found.text


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [({"patient": "a^b"}, "patient_id"), ({"patient": "P", "since": "soon"}, "since")],
)
async def test_a_wrong_field_is_shown_with_what_would_be_right(open_desk: Desk, fields: dict, wrong: str):
    async with open_desk.client() as browser:
        answer = await search(browser, **fields)

    assert answer.status_code == 422
    [told] = re.findall(r'<input id="(\w+)"[^>]*aria-invalid="true"', answer.text)
    assert told == wrong
    assert f'id="{wrong}-hint">Please ' in answer.text


async def test_an_error_of_the_registry_is_a_page_with_its_status(open_desk: Desk):
    async with open_desk.client() as browser:
        address = (await search(browser, "P-1001")).headers["location"]
        open_desk.wire.away = httpx2.ConnectError("refused")
        page = await browser.get(address)

    assert page.status_code == 503
    assert "The registry cannot be reached now" in page.text
    assert page.headers["content-type"].startswith("text/html")


XSS = (
    "<script>document.title='x'</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' autofocus onfocus=alert(1) x='",
    "{{7*7}}{% raw %}",
    "</title><script>alert(1)</script>",
    "javascript:alert(1)",
)


TAGS = {"html", "head", "meta", "title", "link", "body", "header", "main", "nav", "div", "h1", "p", "strong"}
TAGS |= {"a", "span", "form", "button", "label", "input", "h2", "h3", "ol", "li", "img", "small", "aside"}


async def test_what_is_displayed_is_never_markup(open_desk: Desk):
    await open_desk.register(
        *(
            a_document_entry(
                title=text, reference_ids=(f"{number}^^^&1.2.3&ISO^urn:ihe:iti:xds:2013:accession",)
            )
            for number, text in enumerate(XSS)
        )
    )
    async with open_desk.client() as browser:
        page = await browser.get((await search(browser, "P-1001")).headers["location"])

    tags = set(re.findall(r"<([a-z0-9]+)[\s>]", page.text))
    assert tags <= TAGS
    attributes = {name for element in html.fromstring(page.text).iter() for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on") or name == "autofocus"]
    links = {link for *_, link, _ in html.fromstring(page.text).iterlinks()}
    assert all(link.startswith(("/", "data:,", "#")) for link in links), links
    assert "49" not in re.sub(r"[A-Za-z0-9_-]{60,}", "", page.text)
    # Each title as such, and in what its button, its order and its box are called.
    assert page.text.count("&lt;script&gt;") == 2 * 4


@pytest.mark.parametrize("path", ["/", "/sign-in", "/searches/none", "/studies/none", "/nothing"])
async def test_every_page_forbids_scripts_frames_and_keeping(open_desk: Desk, path: str):
    async with open_desk.client() as browser:
        page = await browser.get(path)

    policy = page.headers["content-security-policy"]
    assert policy == POLICY
    for directive in (
        "default-src 'self'",
        "script-src 'self'",
        "object-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ):
        assert directive in policy.split("; ")
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text
    assert not re.search(r"<[^>]*\sstyle=|<style", page.text)


# --- pages: forms ------------------------------------------------------------------------------------


async def test_a_form_that_is_not_from_our_page_in_this_browser_is_refused(open_desk: Desk):
    fields = {"patient_id": "P-1001"}
    async with open_desk.client() as browser, open_desk.client() as attacker:
        token = token_of(await browser.get("/"))
        foreign_token = token_of(await attacker.get("/"))
        without_cookie = httpx2.Headers({"cookie": ""})
        answers = [
            await browser.post("/search", data=fields),
            await browser.post("/search", data=fields | {"token": foreign_token}),
            await browser.post("/search", data=fields | {"token": "é"}),
            await browser.post(
                "/search", data=fields | {"token": token}, headers={"origin": "https://evil.example"}
            ),
            await browser.post("/search", data=fields | {"token": token}, headers={"origin": "null"}),
            await attacker.post("/search", data=fields | {"token": token}, headers=without_cookie),
        ]
        own = await browser.post(
            "/search", data=fields | {"token": token}, headers={"origin": "http://127.0.0.1:8040"}
        )

    assert [answer.status_code for answer in answers] == [403] * 6
    assert own.status_code == 303


@pytest.mark.parametrize("path", ["/sign-in", "/sign-out", "/search"])
async def test_no_form_works_without_its_token(open_desk: Desk, path: str):
    async with open_desk.client() as browser:
        await browser.get("/sign-in")
        assert (await browser.post(path, data={})).status_code == 403


async def test_a_form_that_is_too_large_or_broken_is_refused(open_desk: Desk):
    async with open_desk.client() as browser:
        token = token_of(await browser.get("/"))
        large = await browser.post("/search", data={"token": token, "patient_id": "P" * 200_000})
        broken = await browser.post(
            "/sign-in", content=b"--x\r\nnothing", headers={"content-type": "multipart/form-data; boundary=y"}
        )

        no_text = await browser.post("/sign-out", files={"token": ("token", b"\xff\xfe")})

    assert (large.status_code, broken.status_code, no_text.status_code) == (413, 400, 400)


# --- pages: signing in -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/searches/x", "/studies/x", "/instances/x"])
async def test_where_a_user_is_needed_every_page_is_the_one_to_sign_in(viewer, path: str):
    page = await viewer.get(path)

    assert page.status_code == 401
    assert "<h1>Sign in</h1>" in page.text


async def test_a_clinician_signs_in_with_an_assertion_and_works_with_it(strict_desk: Desk, viewer):
    assertion = assertion_for("dr.roe")
    before = (await viewer.get("/sign-in")).headers["set-cookie"]
    signed_in = await sign_in(viewer, assertion)
    home = await viewer.get("/")
    await search(viewer, "P-1001")
    found = await viewer.get((await search(viewer, "P-1001")).headers["location"])

    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
    assert "dr.roe" in home.text
    assert found.status_code == 200
    assert all(assertion in sent for sent in strict_desk.wire.sent)
    [login] = strict_desk.told("110114")
    assert (login.event_types[0].code, login.outcome) == ("110122", Outcome.SUCCESS)
    cookie = signed_in.headers["set-cookie"]
    assert cookie.startswith("__Host-xdsi-consumer=")
    assert cookie.split(";")[0] != before.split(";")[0]
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)


@pytest.mark.parametrize("which", ["forged", "unsigned", "of a stranger", "expired"])
async def test_nobody_signs_in_with_an_assertion_that_is_not_good(strict_desk: Desk, viewer, which: str):
    good = assertion_for("dr.roe")
    bad = {
        "forged": edited(good, b"dr.roe", b"dr.doe"),
        "unsigned": without_signature(good),
        "of a stranger": assertion_for("dr.roe", stranger()),
        "expired": assertion_for("dr.roe", not_before=datetime.now(UTC) - timedelta(days=1)),
    }[which]
    page = await sign_in(viewer, bad)

    assert page.status_code == 401
    assert "is not accepted" in page.text
    assert (await viewer.get("/")).status_code == 401
    [event] = strict_desk.told("110114")
    assert event.outcome is Outcome.SERIOUS_FAILURE


async def test_signing_in_without_a_file_asks_for_it(viewer):
    page = await sign_in(viewer, b"")

    assert page.status_code == 401
    assert "Choose the file" in page.text


async def test_signing_out_ends_the_session_for_the_number_that_was(strict_desk: Desk, viewer):
    await sign_in(viewer, assertion_for("dr.roe"))
    number = viewer.cookies["__Host-xdsi-consumer"]
    out = await viewer.post("/sign-out", data={"token": token_of(await viewer.get("/"))})
    again = await viewer.get("/", headers={"cookie": f"__Host-xdsi-consumer={number}"})

    assert out.status_code == 303
    assert again.status_code == 401
    assert [event.event_types[0].code for event in strict_desk.told("110114")] == ["110122", "110123"]


async def test_a_session_ends_with_its_assertion(strict_desk: Desk, viewer):
    await sign_in(viewer, assertion_for("dr.roe", lifetime_seconds=300))
    strict_desk.later[0] = timedelta(seconds=300)
    within_skew = await viewer.get("/")
    strict_desk.later[0] = timedelta(seconds=361)
    after = await viewer.get("/")

    assert (within_skew.status_code, after.status_code) == (200, 401)
    assert "no longer valid" in after.text
    assert len(strict_desk.consumer.sessions) == 0


async def test_a_session_left_alone_is_forgotten_and_recorded(strict_desk: Desk, viewer, monkeypatch):
    await sign_in(viewer, assertion_for("dr.roe"))
    sessions = strict_desk.consumer.sessions
    monkeypatch.setattr(sessions, "_clock", lambda: time.time() + IDLE_SECONDS)
    await strict_desk.consumer.session_end.end()

    assert len(sessions) == 0
    event = strict_desk.told("110114")[-1]
    assert (event.event_types[0].code, event.participants[0].requestor) == ("110123", False)


@pytest.mark.parametrize("path", ["/", "/searches/x", "/studies/x", "/instances/x"])
async def test_who_opens_a_page_and_claims_nothing_is_not_recorded(strict_desk: Desk, viewer, path: str):
    assert (await viewer.get(path)).status_code == 401
    assert strict_desk.told("110114") + strict_desk.told("110113") == []


async def test_a_session_whose_assertion_is_accepted_no_longer_is_refused_and_recorded(
    strict_desk: Desk, viewer
):
    await sign_in(viewer, assertion_for("dr.roe", lifetime_seconds=300))
    strict_desk.later[0] = timedelta(seconds=361)
    await viewer.get("/searches/x")

    refused = strict_desk.told("110114")[-1]
    assert refused.outcome is Outcome.SERIOUS_FAILURE
    assert "GET /searches/{handle}" in refused.outcome_description


async def test_nobody_is_signed_in_where_that_cannot_be_recorded(strict_desk: Desk, viewer):
    page = await viewer.get("/sign-in")
    strict_desk.recorder.full = True
    answer = await viewer.post(
        "/sign-in",
        data={"token": token_of(page)},
        files={"assertion": ("me.xml", assertion_for("dr.roe"), "text/xml")},
    )
    strict_desk.recorder.full = False

    assert answer.status_code == 503
    assert "audit" in answer.text
    assert (await viewer.get("/")).status_code == 401


async def test_every_page_is_counted_by_its_name(open_desk: Desk):
    async with open_desk.client() as browser:
        await search(browser, "P-1001")
        await browser.get("/searches/none")
        metrics = (await browser.get("/metrics")).text

    for outcome, name in (("success", "Search form"), ("success", "Search"), ("failure", "Studies found")):
        assert f'xdsi_transactions_total{{outcome="{outcome}",transaction="{name}"}} 1.0' in metrics


async def test_a_session_is_worth_nothing_at_another_node(strict_desk: Desk, viewer):
    await sign_in(viewer, assertion_for("dr.roe"))
    number = viewer.cookies["__Host-xdsi-consumer"]

    async with strict_desk.client(communities()[1]) as other:
        page = await other.get("/", headers={"cookie": f"__Host-xdsi-consumer={number}"})

    assert page.status_code == 401


async def test_a_handle_is_worth_nothing_to_another_user_or_at_another_node(strict_desk: Desk, viewer):
    await sign_in(viewer, assertion_for("dr.roe"))
    address = (await search(viewer, "P-1001")).headers["location"]
    answers = []
    for node, name in ((0, "dr.roe"), (0, "dr.doe"), (1, "dr.roe")):
        async with strict_desk.client(communities()[node]) as browser:
            await sign_in(browser, assertion_for(name))
            answers.append((await browser.get(address)).status_code)
            unknown = await browser.get("/searches/none")

    assert answers == [200, 404, 404]
    assert unknown.status_code == 404
    assert LIFETIME_SECONDS <= 8 * 3600
