"""The pages for operators: what is stuck and why, what mends it from the page, and who may look."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from imaging_source.domain.examination import Finding
from imaging_source.domain.load import HOUR_SECONDS, AnswerHistory
from imaging_source.pages import SERVED_REST
from imaging_source.pages import reports as pages_of_reports
from imaging_source.pages.page import in_bytes
from imaging_source.store.publications import PublicationError, encode_errors, publication
from imaging_source.transactions import drift
from imaging_source.transactions.rad13 import OrderReceiver
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.ebrim.model import Code
from shared.pages.forms import FormBody
from shared.security.caller import Node
from tests.support.certificates import assertion_for, communities
from tests.support.dicom import a_ct
from tests.support.imaging_source import cx
from tests.support.orders import oru
from tests.support.publishing_rig import PublishingRig, a_publishing_rig

STUDY = "2.25.11"
OPERATOR = Code("OPERATOR", "2.999.40.1", "Site operator")
OF_PAGES = [
    (*route.split(" ", 1), served)
    for served in SERVED_REST
    for route in served.routes
    if served.right is not None and "/sign-in" not in route
]
REFUSAL = encode_errors(
    [PublicationError("XDSRegistryMetadataError", "<script>alert(1)</script> is no class code")]
)
FINDINGS = (
    Finding(severity="ok", subject="XDSI_DATA", state="its folder can be written"),
    Finding(severity="error", subject="registry", state="nobody answers", remedy="start it"),
)


async def findings() -> tuple[Finding, ...]:
    return FINDINGS


@asynccontextmanager
async def opened(folder: Path, **changes: Any) -> AsyncIterator[tuple[PublishingRig, httpx2.AsyncClient]]:
    """A source with its registry and repository, and a browser that has not signed in."""
    trust = {"assertion": communities()[0].settings()["assertion"], "xua": "required"}
    roles = {"operator_roles": (str(OPERATOR),)}
    async with (
        a_publishing_rig(folder, **trust, **roles, **changes) as rig,
        httpx2.AsyncClient(base_url=rig.source_url, trust_env=False) as http,
    ):
        await rig.make_known("P1")
        yield rig, http


async def signed_in(http: httpx2.AsyncClient, name: str = "o.perator", role: Code = OPERATOR) -> None:
    answer = await http.post(
        "/sign-in",
        data={"token": token_in((await http.get("/sign-in")).text)},
        files={"assertion": ("me.xml", assertion_for(name, roles=(role,)), "text/xml")},
    )
    assert answer.status_code == 303, answer.text


def token_in(page: str) -> str:
    return re.search(r'name="token" value="([^"]+)"', page)[1]


async def sent(http: httpx2.AsyncClient, page: str, path: str, **fields: str) -> httpx2.Response:
    """What a form of a page leads to."""
    token = token_in((await http.get(page)).text)
    answer = await http.post(path, data={"token": token, **fields})
    return await http.get(answer.headers["location"]) if answer.status_code == 303 else answer


async def until_done(http: httpx2.AsyncClient) -> None:
    """Ask as the script of the page does."""
    async with asyncio.timeout(30):
        while (await http.get("/doctor/progress")).json()["runs"]:
            await http.get("/doctor")


async def page_of(http: httpx2.AsyncClient, study: str = STUDY) -> str:
    """The address of the last publication of a study, as it is found by its UID."""
    token = token_in((await http.get("/publications")).text)
    answer = await http.post("/publications", data={"token": token, "study": study})
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


# --- who may ------------------------------------------------------------------------------------------


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[AuditEvent]:
    """Every event that is recorded from now on."""
    seen: list[AuditEvent] = []
    made = AuditRecorder.messages

    def messages(self: AuditRecorder, event: AuditEvent) -> tuple[bytes, ...]:
        seen.append(event)
        return made(self, event)

    monkeypatch.setattr(AuditRecorder, "messages", messages)
    return seen


async def test_a_clinician_learns_nothing_from_any_page_and_does_nothing_and_that_is_recorded(
    tmp_path: Path, events: list[AuditEvent]
):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P9")
        await rig.publish(STUDY)
        await signed_in(http)
        mine = await page_of(http)
        http.cookies.clear()
        await signed_in(http, "dr.roe", Code("RAD-PHYS", "2.999.40.1", "Radiologist"))
        token = token_in((await http.get("/sign-in")).text)
        told = {}
        for method, path, served in OF_PAGES:
            before = len(events)
            for whole in (path.replace("/publications/{handle}", mine), path.replace("{handle}", "2.25.1")):
                data = {"token": token} if isinstance(served.decode, FormBody) else None
                answer = await http.request(method, whole, data=data)
                if answer.status_code != 403 or STUDY in answer.text or "P9" in answer.text:
                    told[method, whole] = answer.text
            if served.name != "Progress of examination":
                refused = [one for one in events[before:] if one.outcome]
                assert len(refused) == 2, path
                assert all("dr.roe" in str(one.participants) for one in refused)
        assert told == {}


async def test_who_has_not_signed_in_is_asked_to_and_told_nothing_else(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P9")
        await rig.publish(STUDY)
        for method, path, _ in OF_PAGES:
            answer = await http.request(method, path.replace("{handle}", "2.25.1"))
            assert answer.status_code == 401
            assert STUDY not in answer.text


async def test_every_look_and_act_of_an_operator_is_recorded_with_name_and_patient(
    tmp_path: Path, events: list[AuditEvent]
):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P9")
        await rig.publish(STUDY)
        await signed_in(http)
        for method, path, served in OF_PAGES:
            if method == "GET" and "{" not in path and served.name != "Progress of examination":
                before = len(events)
                assert (await http.get(path)).status_code == 200
                [event] = events[before:]
                assert "o.perator" in str(event.participants)
        mine = await page_of(http)
        await http.get(mine)
        assert cx("P9") in {one.object_id for one in events[-1].objects}
        await sent(http, mine, f"{mine}/withdraw", sure="yes")
        [withdrawn] = [
            one for one in events if "withdrawn" in str(one.objects) and one.event_id.code == "110113"
        ]
        assert {cx("P9"), mine.rpartition("/")[2]} == {one.object_id for one in withdrawn.objects}


async def test_a_form_that_is_none_of_ours_does_nothing(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        await rig.publish(STUDY)
        await signed_in(http)
        mine = await page_of(http)
        for act in ("retry", "withdraw", "patient"):
            answer = await http.post(
                f"{mine}/{act}", data={"token": "0" * 64, "sure": "yes", "patient": "P1"}
            )
            assert answer.status_code == 403
        foreign = await http.post(f"{mine}/withdraw", headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        assert len(await rig.approved("P1", STUDY)) == 1


# --- what is stuck, and what mends it -----------------------------------------------------------------


async def test_what_waits_for_a_patient_is_explained_and_published_for_the_right_one(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P9")
        await rig.publish(STUDY)
        await signed_in(http)
        listed = await http.get("/publications?state=waiting")
        mine = await page_of(http)
        page = await http.get(mine)

        assert "1 study waits to be registered" in (await http.get("/")).text
        assert "until the registry knows the patient" in listed.text
        assert "P9" not in listed.text
        assert "xdsi patient add" in page.text
        wrong = await sent(http, mine, f"{mine}/patient", patient="<P 1>^^^nonsense")
        assert wrong.status_code == 422
        assert "that is no patient id" in wrong.text.lower()
        assert 'value="&lt;P 1&gt;^^^nonsense"' in wrong.text
        done = await sent(http, mine, f"{mine}/patient", patient="P1")
        await rig.settle()
        assert done.status_code == 200
        assert len(await rig.approved("P1", STUDY)) == 1
        assert "nothing is to be done" in (await http.get(await page_of(http))).text


async def test_a_manifest_is_withdrawn_by_who_is_sure_and_published_anew(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        await rig.publish(STUDY)
        await signed_in(http)
        mine = await page_of(http)

        unsure = await sent(http, mine, f"{mine}/withdraw")
        assert unsure.status_code == 422
        assert "tick that you are sure" in unsure.text.lower()
        assert len(await rig.approved("P1", STUDY)) == 1
        withdrawn = await sent(http, mine, f"{mine}/withdraw", sure="yes")
        assert "<h1>Withdrawn</h1>" in withdrawn.text
        assert await rig.approved("P1", STUDY) == []
        await sent(http, mine, f"{mine}/retry")
        await rig.settle()
        assert len(await rig.approved("P1", STUDY)) == 1
        assert "A later manifest of this study" in (await http.get(mine)).text


async def test_a_refused_manifest_says_what_the_registry_said_and_is_on_the_first_page(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        await rig.publish(STUDY)
        await rig.source.parts.database.write(
            lambda transaction: transaction.execute(
                publication.update().values(state="refused", errors=REFUSAL)
            )
        )
        await signed_in(http)
        first = await http.get("/")
        page = await http.get(await page_of(http))

        assert "1 study refused by the repository or the registry" in first.text
        assert "XDSRegistryMetadataError" in page.text
        assert "&lt;script&gt;" in page.text
        assert "<script>" not in page.text
        assert "--retry" in page.text


async def test_what_others_removed_is_drift_until_it_is_published_again(tmp_path: Path):
    async with opened(tmp_path, publish_delay_seconds=0) as (rig, http):
        await rig.image(STUDY, "P1")
        await rig.publish(STUDY)
        [entry] = await rig.approved("P1", STUDY)
        await rig.remove(entry)
        await drift.examine(rig.source.parts, STUDY)
        await signed_in(http)

        assert "1 manifest no longer true" in (await http.get("/")).text
        listed = await http.get("/drift")
        assert f"xdsi publications {STUDY} --retry" in listed.text
        mine = re.search(r'href="(/publications/[^"?]+)"', listed.text)[1]
        assert "others deprecated or removed its entry" in (await http.get(mine)).text.lower()
        await sent(http, mine, f"{mine}/retry")
        await rig.settle()
        assert len(await rig.approved("P1", STUDY)) == 1


async def test_an_image_of_another_patient_is_set_aside_until_it_is_accepted(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        await rig.keep(a_ct(StudyInstanceUID=STUDY, SOPInstanceUID="2.25.99", PatientID="P2"))
        await signed_in(http)

        assert "1 image set aside" in (await http.get("/")).text
        assert "2.25.99" in (await http.get("/set-aside")).text
        after = await sent(http, "/set-aside", "/set-aside/2.25.99/accept")
        assert "2.25.99" not in after.text
        assert (await sent(http, "/set-aside", "/set-aside/2.25.99/accept")).status_code == 404


async def test_a_report_that_somebody_has_to_decide_about_is_told_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pages_of_reports, "MOST", 2)
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        parts = rig.source.parts
        receiver = OrderReceiver(parts=parts, host="source.example")
        messages = [
            oru(patient="P9^^^NORTH", study=STUDY),
            *(
                oru(patient="P1^^^NORTH", study=f"2.25.{n}", control_id=f"C{n}", filler=f"FO-{n}")
                for n in range(2, 5)
            ),
        ]
        for octets in messages:
            assert b"MSA|AA|" in await receiver.acknowledge(octets, Node(address="127.0.0.1"))
            await rig.source.reports.turn()
        await signed_in(http)

        assert "1 report not registered beside the images" in (await http.get("/")).text
        page = (await http.get("/reports")).text
        assert page.count('id="report-') == 2
        assert page.index("Somebody has to decide about a report") < page.index("A report waits")
        assert "P9" not in page


async def test_what_a_study_waits_for_is_told_beside_the_field(tmp_path: Path):
    async with opened(tmp_path, auto_publish=True, publish_delay_seconds=900) as (rig, http):
        await rig.keep(a_ct(StudyInstanceUID=STUDY, SOPInstanceUID="2.25.99"))
        await signed_in(http)

        answer = await sent(http, "/publications", "/publications", study=STUDY)

        assert "it is published when nothing has come for 900 s" in answer.text


async def test_a_study_that_is_none_or_was_never_published_is_told_beside_the_field(tmp_path: Path):
    async with opened(tmp_path) as (_, http):
        await signed_in(http)
        for study, reason in (("1.2.<b>", "no Study Instance UID"), ("2.25.404", "nothing of this study")):
            answer = await sent(http, "/publications", "/publications", study=study)
            assert answer.status_code == 422
            assert reason.lower() in answer.text.lower()
            assert "<b>" not in answer.text
        assert (await http.get("/publications/nobody")).status_code == 404


# --- what it runs on ----------------------------------------------------------------------------------


async def test_archives_and_ae_titles_are_shown_without_their_passwords(tmp_path: Path):
    archives = {"pacs": {"url": "https://user:s3cret@pacs.example/dicom-web"}}
    entities = {"CT01": {"host": "127.0.0.1", "port": 4242, "services": ["store", "find"]}}
    async with opened(tmp_path, archives=archives, application_entities=entities) as (_, http):
        await signed_in(http)
        page = await http.get("/connections")

        assert "https://pacs.example/dicom-web" in page.text
        assert "s3cret" not in page.text
        for shown in ("CT01", "127.0.0.1 port 4242", "store, find", "never since the start"):
            assert shown in page.text


async def test_certificates_are_shown_with_their_end(tmp_path: Path):
    async with opened(tmp_path) as (_, http):
        await signed_in(http)
        page = await http.get("/certificates")

        assert "XDSI_ASSERTION__ISSUERS" in page.text
        assert re.search(r"\d+ days</span>", page.text)


async def test_what_came_is_plotted_on_the_server_and_told_in_words(tmp_path: Path):
    async with opened(tmp_path) as (rig, http):
        await rig.image(STUDY, "P1")
        await signed_in(http)
        page = await http.get("/load")

        assert re.search(
            r'<svg class="plot " [^>]*aria-label="Images that came, by hour: \d\d:00: 1 image"', page.text
        )
        assert "<script" not in page.text
        for place in ("The disk of XDSI_DATA", "The spool of audit records"):
            assert place in page.text


async def test_the_doctor_looks_when_told_to_and_shows_errors_first(tmp_path: Path):
    async with opened(tmp_path, examine=findings) as (_, http):
        await signed_in(http)
        assert "nobody answers" not in (await http.get("/doctor")).text.lower()
        await sent(http, "/doctor", "/doctor")
        await until_done(http)
        page = await http.get("/doctor")

        assert "1 to be mended, 1 as it should be" in page.text
        assert page.text.index("Nobody answers") < page.text.index("XDSI_DATA</div>")
        assert "start it" in page.text


async def test_a_source_of_another_program_says_where_the_doctor_is(tmp_path: Path):
    async with opened(tmp_path) as (_, http):
        await signed_in(http)
        assert "xdsi doctor --service imaging-source" in (await http.get("/doctor")).text


# --- what it counts -----------------------------------------------------------------------------------


def test_answers_are_counted_to_the_hour_in_which_they_were_given_and_forgotten_after_a_day():
    now, totals = [1_000 * HOUR_SECONDS], [(5, 1)]
    history = AnswerHistory(lambda: totals[0], lambda: now[0])
    totals[0] = (7, 1)
    history.note()
    now[0] += HOUR_SECONDS
    totals[0] = (8, 3)

    hours = history.of_hours()
    assert {hour: (one.answered, one.failed) for hour, one in hours.items()} == {1_000: (2, 0), 1_001: (1, 2)}
    now[0] += 24 * HOUR_SECONDS
    assert 1_001 not in history.of_hours()


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (5.4e8, "540 MB"), (1.25e12, "1.2 TB")]
)
def test_bytes_are_told_as_people_read_them(number: float, text: str):
    assert in_bytes(number) == text
