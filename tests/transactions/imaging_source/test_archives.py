"""A source that fronts an archive gives what that keeps, and nothing that it only says that it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from imaging_source.maintenance.scrub import scrub
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.archived_instances import ArchivedInstances
from imaging_source.store.copies import ArchiveCopies
from imaging_source.store.publications import find_document
from imaging_source.transactions import rad68, rad69
from imaging_source.transactions.archived import ArchiveSilent
from shared.dicom.kos import read_manifest
from shared.dicom.uids import RLE
from shared.errors import Actor
from shared.imaging.cache import KEPT_SECONDS
from shared.perform import perform
from shared.settings import SettingsError
from shared.store.scrub import Finding
from tests.support.databases import DatabasePlace
from tests.support.dicom import a_ct, part10
from tests.support.dicomweb_archive import ScriptedArchive
from tests.support.http_server import serving
from tests.support.imaging_source import Source, close_source, cx, open_source, source
from tests.transactions.imaging_source.test_rad69 import RADIOLOGIST, STUDY, Ref, a_request
from xdsi.checks.archives import archives as ask_archives
from xdsi.checks.finding import Severity

__all__ = ["source"]

JSON = "application/dicom+json"
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@pytest.fixture
def archive() -> ScriptedArchive:
    kept = ScriptedArchive()
    kept.keep(a_ct(), a_ct(SOPInstanceUID="2.25.14", InstanceNumber=2))
    return kept


@asynccontextmanager
async def fronting(tmp_path, *archives: ScriptedArchive, **settings) -> AsyncIterator[Source]:
    """A source that fronts `archives`, and compares a study each time."""
    servers = [serving(one) for one in archives]
    urls = [f"http://127.0.0.1:{(await server.__aenter__()).port}/dicom-web" for server in servers]
    place = DatabasePlace(url=None, folder=tmp_path / "database", name="imaging_source")
    opened = await open_source(
        place,
        tmp_path / "data",
        archives={f"archive-{number}": {"url": url} for number, url in enumerate(urls, 1)},
        **{"archive_check_seconds": 0, **settings},
    )
    try:
        yield opened
    finally:
        await close_source(opened)
        for server in servers:
            await server.__aexit__(None, None, None)


@pytest.fixture
async def front(tmp_path, archive) -> AsyncIterator[Source]:
    async with fronting(tmp_path, archive) as opened:
        yield opened


async def retrieve(front: Source, *refs: Ref):
    request = a_request(*(refs or (Ref(),)), syntaxes=("1.2.840.10008.1.2.1", "1.2.840.10008.1.2"))
    return await perform(rad69.SERVED, front.service.unit, request, RADIOLOGIST, front.recorder)


async def get(front: Source, path: str, accept: str = JSON):
    async with front.client() as client:
        return await client.get(f"/dicomweb{path}", headers={"accept": accept})


async def drop_copies(front: Source) -> None:
    """As time does, and whoever needs the room."""
    store = front.parts.instances
    assert isinstance(store, ArchivedInstances)
    for one in await store.find_study(STUDY):
        await store.copies.forget(one.sha256)


def content(response) -> list[bytes]:
    return [b"".join(_bytes(piece) for piece in _pieces(document)) for document in response.documents]


def _pieces(document):
    return document.content if isinstance(document.content, tuple) else (document.content,)


def _bytes(piece) -> bytes:
    return Path(piece.path).read_bytes()[piece.offset :][: piece.length]


# --- what an archive keeps ---------------------------------------------------------------------------


async def test_rad69_gives_what_the_archive_keeps_and_keeps_nothing(front, archive, tmp_path):
    response = await retrieve(front, Ref(), Ref(sop="2.25.14"))

    assert content(response) == [archive.files["2.25.13"], archive.files["2.25.14"]]
    assert not list((front.parts.settings.folder / "instances").glob("*/*.dcm"))


async def test_wado_rs_gives_metadata_and_files_of_the_archive(front, archive):
    metadata = await get(front, f"/studies/{STUDY}/metadata")
    files = await get(front, f"/studies/{STUDY}", DICOM)

    assert {one["00080018"]["Value"][0] for one in metadata.json()} == set(archive.files)
    assert all(octets in files.content for octets in archive.files.values())


async def test_a_study_is_found_before_and_after_it_was_opened(front):
    before = await get(front, "/studies?PatientID=P1")
    series = await get(front, f"/studies/{STUDY}/series")
    after = await get(front, "/studies?PatientID=P1")

    assert [one["0020000D"]["Value"] for one in before.json()] == [[STUDY]]
    assert [one["0020000D"]["Value"] for one in after.json()] == [[STUDY]]
    assert [one["00201209"]["Value"] for one in series.json()] == [[2]]


async def test_what_does_not_match_is_not_told_whatever_the_archive_says(front):
    assert (await get(front, "/studies?PatientID=P2")).json() == []


async def test_a_manifest_names_all_that_the_archive_has(front):
    enqueued = await rad68.publish(front.parts, STUDY)

    manifest = read_manifest(await find_document(front.parts.database, enqueued.publication_id))
    assert {one.sop_instance_uid for _, _, one in manifest.instances} == {"2.25.13", "2.25.14"}


async def test_a_copy_that_is_gone_is_retrieved_again(front, archive):
    await retrieve(front)
    await drop_copies(front)

    assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_a_damaged_copy_is_retrieved_again(front, archive):
    await retrieve(front)
    for path in (front.parts.settings.folder / "copies-of-archives").glob("*/*.dcm"):
        path.write_bytes(b"\0" * path.stat().st_size)

    assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_what_is_retrieved_stands_in_the_trail(front):
    await retrieve(front)

    numbers = {code.code for event in front.recorder.events for code in event.event_types}
    assert {"RAD-107", "RAD-69"} <= numbers


async def test_the_scrub_does_not_miss_copies(front):
    await retrieve(front)
    await drop_copies(front)

    parts = front.parts
    findings = [one async for one in scrub(parts.database, parts.instances.files, front.recorder)]
    assert Finding.DAMAGED not in [finding for _, _, finding in findings]


async def test_what_a_modality_sends_is_kept_though_the_archive_has_it(front, archive):
    await retrieve(front)
    await front.keep(archive.files["2.25.13"])
    archive.status = 503

    assert len(list((front.parts.settings.folder / "instances").glob("*/*.dcm"))) == 1
    await drop_copies(front)
    assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_who_is_refused_makes_nobody_retrieve_and_learns_nothing(front, archive):
    front.consent.refused = frozenset({cx("P1")})

    refused = await get(front, f"/studies/{STUDY}", DICOM)
    unknown = await get(front, "/studies/2.25.999", DICOM)

    assert (refused.status_code, refused.content) == (unknown.status_code, unknown.content)
    assert (await get(front, "/studies")).json() == []
    assert archive.retrievals == 0


async def test_an_erased_instance_is_not_taken_from_the_archive_again(front):
    await retrieve(front)
    store = front.parts.instances
    chosen = [one for one in await store.find_study(STUDY) if one.sop_instance_uid == "2.25.13"]
    await store.erase(chosen, (), front.recorder)

    metadata = (await get(front, f"/studies/{STUDY}/metadata")).json()
    assert [one["00080018"]["Value"] for one in metadata] == [["2.25.14"]]


# --- what changes ------------------------------------------------------------------------------------


async def test_a_new_instance_is_noticed(front, archive):
    await retrieve(front)
    archive.keep(a_ct(SOPInstanceUID="2.25.15", InstanceNumber=3))

    assert content(await retrieve(front, Ref(sop="2.25.15"))) == [archive.files["2.25.15"]]


async def test_an_instance_that_left_the_archive_is_noticed(front, archive):
    await retrieve(front)
    del archive.files["2.25.13"]

    response = await retrieve(front, Ref(), Ref(sop="2.25.14"))
    assert [one.document_unique_id for one in response.documents] == ["2.25.14"]


async def test_an_instance_that_is_listed_otherwise_is_retrieved_anew(front, archive):
    await retrieve(front)
    archive.keep(a_ct(InstanceNumber=7))

    assert content(await retrieve(front)) == [archive.files["2.25.13"]]
    assert [one.instance_number for one in await front.parts.instances.find_study(STUDY)] == [2, 7]


async def test_an_image_that_the_archive_has_compressed_meanwhile_is_the_same_image(front, archive):
    given = content(await retrieve(front))
    noted = await front.parts.instances.find_study(STUDY)
    archive.files["2.25.13"] = part10(a_ct(), RLE)
    archive.lists = lambda listed: [one | {"00083002": {"vr": "UI", "Value": [RLE]}} for one in listed]

    assert content(await retrieve(front)) == given
    assert await front.parts.instances.find_study(STUDY) == noted


async def test_other_bytes_than_were_noted_are_not_given_under_their_description(front, archive):
    await retrieve(front)
    await drop_copies(front)
    archive.keep(a_ct(ImageComments="changed without a word in the list"))

    first = await retrieve(front)
    assert first.documents == ()
    assert "changed" in first.errors[0].context
    assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_a_study_that_is_given_to_another_patient_waits_for_a_person(front, archive):
    await retrieve(front)
    archive.files.clear()
    archive.keep(a_ct(PatientID="P2"))

    assert (await retrieve(front)).documents == ()
    assert await front.parts.instances.accept("2.25.13") == STUDY
    assert len((await retrieve(front)).documents) == 1


# --- archives that lie, or say nothing ---------------------------------------------------------------

OTHER_PATIENT = part10(a_ct(PatientID="P2"))
LIES = {
    "another instance": [part10(a_ct(SOPInstanceUID="2.25.99"))],
    "another patient": [OTHER_PATIENT],
    "another study": [part10(a_ct(StudyInstanceUID="2.25.98"))],
    "another series": [part10(a_ct(SeriesInstanceUID="2.25.97"))],
    "half of it": [part10(a_ct())[:-100]],
    "no DICOM": [b"<html>sign in</html>"],
    "nothing": [b""],
    "no part": [],
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.replace(" ", "-"))
async def test_a_lie_is_not_given(front, archive, lie):
    archive.sends["2.25.13"] = LIES[lie]

    response = await retrieve(front, Ref(), Ref(sop="2.25.14"))

    assert content(response) == [archive.files["2.25.14"]]
    assert [error.code_for(Actor.REPOSITORY) for error in response.errors] == ["XDSRepositoryError"]
    assert (await get(front, f"/studies/{STUDY}", DICOM)).status_code == 503
    assert (await get(front, f"/studies/{STUDY}/metadata")).status_code == 503
    with pytest.raises(ArchiveSilent):
        await rad68.publish(front.parts, STUDY)


async def test_of_two_answers_for_one_instance_the_first_counts(front, archive):
    other = part10(a_ct(ImageComments="the second"))
    archive.sends["2.25.13"] = [archive.files["2.25.13"], other]

    assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_a_retrieval_that_breaks_off_gives_what_came_whole(front, archive):
    archive.cut = len(archive.files["2.25.13"]) + 300
    archive.lists = lambda listed: [one | {"0020000E": {"vr": "UI", "Value": ["2.25.12"]}} for one in listed]

    response = await retrieve(front, Ref(), Ref(sop="2.25.14"))
    assert set(content(response)) <= set(archive.files.values())


BROKEN_LISTS = {
    "an object": lambda listed: {"error": "none"},
    "texts": lambda listed: ["study"],
    "no element": lambda listed: [{"0020000D": "2.25.11"}],
    "no array": lambda listed: [{"0020000D": {"vr": "UI", "Value": "2.25.11"}}],
    "a sequence of numbers": lambda listed: [
        one | {"00100024": {"vr": "SQ", "Value": [{"00400032": 5}]}} for one in listed
    ],
}


@pytest.mark.parametrize("broken", BROKEN_LISTS.values(), ids=list(BROKEN_LISTS))
async def test_a_list_that_is_none_is_no_answer(front, archive, broken):
    archive.lists = broken

    assert (await get(front, f"/studies/{STUDY}", DICOM)).status_code == 503
    response = await get(front, "/studies?PatientID=P1")
    assert response.status_code == 200
    assert "archive-1" in response.headers["warning"]


async def test_a_uid_that_is_none_is_not_listed(front, archive):
    archive.lists = lambda listed: [
        one | {"00080018": {"vr": "UI", "Value": ["../../etc"]}} if "00080018" in one else one
        for one in listed
    ]
    assert (await get(front, f"/studies/{STUDY}", DICOM)).status_code == 404


async def test_a_silent_archive_is_told_and_what_is_at_hand_is_given(front, archive):
    await retrieve(front)
    archive.status = 503

    assert content(await retrieve(front)) == [archive.files["2.25.13"]]
    unknown = await get(front, "/studies/2.25.999", DICOM)
    assert unknown.status_code == 503
    assert "archive-1" in unknown.text
    await drop_copies(front)
    response = await retrieve(front)
    assert response.documents == ()
    assert "archive-1" in response.errors[0].context


# --- several, and how much of them --------------------------------------------------------------------


async def test_the_next_archive_is_asked_for_what_the_first_has_not(tmp_path, archive):
    first = ScriptedArchive()
    first.keep(a_ct(StudyInstanceUID="2.25.21", SeriesInstanceUID="2.25.22", SOPInstanceUID="2.25.23"))
    async with fronting(tmp_path, first, archive) as front:
        response = await retrieve(front, Ref(), Ref(study="2.25.21", series="2.25.22", sop="2.25.23"))
        found = (await get(front, "/studies")).json()

    assert len(response.documents) == 2
    assert len(found) == 2


async def test_the_next_archive_is_asked_when_the_first_is_silent(tmp_path, archive):
    async with fronting(tmp_path, ScriptedArchive(status=500), archive) as front:
        assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_the_next_archive_gives_what_the_first_lists_and_does_not_give(tmp_path, archive):
    first = ScriptedArchive(files=dict(archive.files), sends={"2.25.13": [OTHER_PATIENT]})
    async with fronting(tmp_path, first, archive) as front:
        assert content(await retrieve(front)) == [archive.files["2.25.13"]]


async def test_another_archive_gives_the_same_bytes_or_none(tmp_path, archive):
    second = ScriptedArchive(files=dict(archive.files))
    async with fronting(tmp_path, archive, second) as front:
        await retrieve(front)
        await drop_copies(front)
        archive.status = 503
        assert content(await retrieve(front)) == [archive.files["2.25.13"]]
        second.keep(a_ct(ImageComments="an older one"))
        await drop_copies(front)
        assert (await retrieve(front)).documents == ()


async def test_copies_take_no_more_than_their_room_and_those_in_use_stay(tmp_path):
    now = 10_000.0
    copies = ArchiveCopies(tmp_path / "copies", max_bytes=250, clock=lambda: now)
    digests = []
    for letter in "abc":
        incoming = copies.raw(max_bytes=100)
        incoming.write(letter.encode() * 100)
        spooled = incoming.finish()
        if copies.admits(100):
            await copies.keep(spooled)
            digests.append(spooled.sha256)
        copies.release(spooled)
    assert len(digests) == 2
    now += KEPT_SECONDS + 1
    copies.use(digests[0])
    assert copies.admits(100)
    assert copies.use(digests[0])
    assert not copies.use(digests[1])
    copies.close()
    assert ArchiveCopies(tmp_path / "copies", max_bytes=250).bytes == 100


async def test_a_study_that_has_no_room_is_described_and_not_given(tmp_path, archive):
    async with fronting(tmp_path, archive, archive_cache_bytes=10) as front:
        assert len((await get(front, f"/studies/{STUDY}/metadata")).json()) == 2
        assert "room" in (await retrieve(front)).errors[0].context


async def test_the_doctor_asks_each_archive_as_the_service_would(front, archive):
    [well] = await ask_archives(front.parts.settings)
    archive.status = 401
    [wrong] = await ask_archives(front.parts.settings)

    assert (well.severity, wrong.severity) == (Severity.OK, Severity.ERROR)
    assert "archive-1" in wrong.subject
    assert "answers 401" in wrong.found
    assert archive.retrievals == 0


async def test_what_archives_give_and_where_they_fail_is_counted(front, archive):
    await retrieve(front)
    archive.status = 503
    await retrieve(front)
    async with front.client() as client:
        metrics = (await client.get("/metrics")).text

    assert 'xdsi_archive_instances_total{archive="archive-1"} 2.0' in metrics
    assert 'xdsi_archive_failures_total{archive="archive-1"} 1.0' in metrics
    assert "xdsi_archive_copies_bytes" in metrics


def test_an_archive_in_clear_elsewhere_is_refused():
    with pytest.raises(SettingsError, match="in clear"):
        ImagingSourceSettings.load(
            environ={}, archives={"pacs": {"url": "http://pacs.example/dicom-web"}}, data="/tmp/none"
        )
    settings = ImagingSourceSettings.load(
        environ={}, archives={"pacs": {"url": "https://me:let%3Ame@pacs.example/web"}}, data="/tmp/none"
    )
    assert settings.archives["pacs"].address == "https://pacs.example/web"
    assert settings.archives["pacs"].authorization == "Basic bWU6bGV0Om1l"
