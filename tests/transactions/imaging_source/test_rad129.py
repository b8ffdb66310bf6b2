"""QIDO-RS as a client meets it: HTTP in, HTTP out (PS3.18 10.6; imaging dossier 10.1 and 20)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
from lxml import etree
from pydicom.dataset import Dataset
from sqlalchemy import insert

from imaging_source.store.catalogue import fill
from imaging_source.store.tables import series, study, uncatalogued_study
from shared.audit.events import Outcome
from tests.support.dicom import CT, a_ct, a_multi_frame, an_sr
from tests.support.imaging_source import (
    BASE,
    Source,
    a_rejection_note,
    close_source,
    cx,
    database_place,
    either_source,
    open_source,
    postgres_url,
    source,
)

__all__ = ["database_place", "either_source", "postgres_url", "source"]

JSON = "application/dicom+json"
LEVELS = ("studies", "series", "instances")


async def ask(source: Source, path: str, accept: str | None = JSON, **keys: Any) -> httpx2.Response:
    source.recorder.taken()
    async with source.client() as client:
        headers = {"accept": accept} if accept else {}
        return await client.get(f"/dicomweb/{path}?{urlencode(keys, doseq=True)}", headers=headers)


async def search(source: Source, path: str, **keys: Any) -> list[dict[str, Any]]:
    response = await ask(source, path, **keys)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == JSON
    return response.json()


def value(match: Mapping[str, Any], tag: str) -> Any:
    return next(iter(match[tag].get("Value", [None])))


def values(matches: list[dict[str, Any]], tag: str) -> list[Any]:
    return [value(one, tag) for one in matches]


def an_image(number: int, *, study: int = 0, series: int = 0, **changes: Any) -> Dataset:
    uid = f"2.25.1{study:04}"
    return a_ct(
        StudyInstanceUID=uid,
        SeriesInstanceUID=f"{uid}.{series + 1}",
        SOPInstanceUID=f"{uid}.{series + 1}.{number}",
        InstanceNumber=number,
        **changes,
    )


# --- what a match tells ------------------------------------------------------------------------------


async def test_a_study_tells_the_attributes_of_the_table(either_source):
    await either_source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131"), an_sr(SeriesInstanceUID="2.25.15"))

    (match,) = await search(either_source, "studies")

    assert list(match) == sorted(match)
    assert match == {
        "00080005": {"vr": "CS", "Value": ["ISO_IR 192"]},
        "00080020": {"vr": "DA", "Value": ["20260228"]},
        "00080030": {"vr": "TM", "Value": ["093000"]},
        "00080050": {"vr": "SH", "Value": ["A123"]},
        "00080056": {"vr": "CS", "Value": ["ONLINE"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00080090": {"vr": "PN"},
        "00081190": {"vr": "UR", "Value": [f"{BASE}/dicomweb/studies/2.25.11"]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Müller^Jürgen"}]},
        "00100020": {"vr": "LO", "Value": ["P1"]},
        "00100030": {"vr": "DA", "Value": ["19700101"]},
        "00100040": {"vr": "CS", "Value": ["M"]},
        "0020000D": {"vr": "UI", "Value": ["2.25.11"]},
        "00200010": {"vr": "SH"},
        "00201206": {"vr": "IS", "Value": [2]},
        "00201208": {"vr": "IS", "Value": [3]},
    }


async def test_a_series_tells_the_attributes_of_the_table(source):
    request = Dataset()
    request.ScheduledProcedureStepID, request.RequestedProcedureID = "S1", "R1"
    await source.keep(
        a_ct(
            SeriesDescription="Thorax",
            PerformedProcedureStepStartDate="20260228",
            RequestAttributesSequence=[request],
        )
    )

    (match,) = await search(source, "studies/2.25.11/series")

    assert {tag: value(match, tag) for tag in match if tag != "00400275"} == {
        "00080005": "ISO_IR 192",
        "00080056": "ONLINE",
        "00080060": "CT",
        "0008103E": "Thorax",
        "00081190": f"{BASE}/dicomweb/studies/2.25.11/series/2.25.12",
        "0020000D": "2.25.11",
        "0020000E": "2.25.12",
        "00200011": 3,
        "00201209": 1,
        "00400244": "20260228",
    }
    assert value(value(match, "00400275"), "00400009") == "S1"


async def test_an_instance_tells_the_attributes_of_the_table(source):
    await source.keep(a_multi_frame())

    (match,) = await search(source, "studies/2.25.11/series/2.25.12/instances")

    assert {tag: value(match, tag) for tag in match} == {
        "00080005": "ISO_IR 192",
        "00080016": "1.2.840.10008.5.1.4.1.1.2.1",
        "00080018": "2.25.13",
        "00080056": "ONLINE",
        "00081190": f"{BASE}/dicomweb/studies/2.25.11/series/2.25.12/instances/2.25.13",
        "00083002": "1.2.840.10008.1.2.1",
        "0020000D": "2.25.11",
        "0020000E": "2.25.12",
        "00200013": 1,
        "00280008": 3,
        "00280010": 16,
        "00280011": 16,
        "00280100": 16,
    }


@pytest.mark.parametrize(
    ("path", "tags"), [("series", ["00100020"]), ("instances", ["00100020", "00080060"])]
)
async def test_a_search_of_all_tells_the_levels_above(source, path, tags):
    await source.keep(a_ct())

    (alone,) = await search(source, f"studies/2.25.11/{path}")
    (match,) = await search(source, path)

    assert set(tags).isdisjoint(alone)
    assert set(tags) <= set(match)


@pytest.mark.parametrize("names", ["StudyDescription", "00081030", "00080060,StudyDescription", "all"])
async def test_what_is_asked_for_is_told_beside(source, names):
    await source.keep(a_ct(StudyDescription="Chest", PatientWeight=70))

    (match,) = await search(source, "studies", includefield=names)

    assert value(match, "00081030") == "Chest"
    assert ("00101030" in match) is (names == "all")


async def test_what_only_the_whole_metadata_have_is_told_where_it_is_asked_for(source):
    await source.keep(a_ct(PatientWeight=70, KVP=120, OperatorsName="Roe^Ann"))

    (study,) = await search(source, "studies", includefield="PatientWeight")
    (of_series,) = await search(source, "series", includefield=["PatientWeight", "OperatorsName"])
    (instance,) = await search(source, "instances", includefield="00180060")

    assert value(study, "00101030") == 70
    assert (value(of_series, "00101030"), value(of_series, "00081070")) == (70, {"Alphabetic": "Roe^Ann"})
    assert value(instance, "00180060") == 120


async def test_all_of_an_instance_is_its_metadata(source):
    await source.keep(a_ct(KVP=120, OperatorsName="Roe^Ann"))

    (match,) = await search(source, "instances", includefield="all")

    async with source.client() as client:
        path = "/dicomweb/studies/2.25.11/series/2.25.12/instances/2.25.13/metadata"
        (metadata,) = (await client.get(path)).json()
    assert {tag: match[tag] for tag in metadata} == metadata


# --- what matches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "right"),
    [
        ("StudyInstanceUID", "2.25.10001", [1]),
        ("StudyInstanceUID", "2.25.10001,2.25.10002", [1, 2]),
        ("0020000D", "2.25.10002\\2.25.10001", [1, 2]),
        ("PatientID", "P2", [2]),
        ("PatientID", "P*", [1, 2, 3]),
        ("PatientID", "p2", []),
        ("PatientName", "doe*", [1, 2]),
        ("PatientName", "*roe*", [3]),
        ("PatientName", "DOE^JOHN", [1]),
        ("PatientName", "山田*", [2]),
        ("AccessionNumber", "A2", [2]),
        ("AccessionNumber", "A?", [1, 2, 3]),
        ("StudyDate", "20240101", [1]),
        ("StudyDate", "20240101-20241231", [1, 2]),
        ("StudyDate", "-20231231", [3]),
        ("StudyTime", "10", [1]),
        ("StudyTime", "100000-120000", [1, 2]),
        ("StudyID", "S2", [2]),
        ("ReferringPhysicianName", "best*", [2]),
        ("ModalitiesInStudy", "MR", [2]),
        ("ModalitiesInStudy", "CT\\MR", [1, 2]),
        ("ModalitiesInStudy", "C*", [1]),
        ("SOPClassesInStudy", CT, [1, 2, 3]),
        ("PatientSex", "F", [2]),
        ("StudyDescription", "*head*", [3]),
    ],
)
async def test_studies_are_found_by_their_attributes(three_studies, key, text, right):
    matches = await search(three_studies, "studies", **{key: text})

    assert [int(value(one, "0020000D")[-1]) for one in matches] == right


@pytest.fixture
async def three_studies(either_source):
    await either_source.keep(
        an_image(
            1,
            study=1,
            PatientID="P1",
            PatientName="Doe^John",
            AccessionNumber="A1",
            StudyDate="20240101",
            StudyTime="103000",
        ),
        an_image(
            1,
            study=2,
            PatientID="P2",
            PatientName="Doe^Jane=山田^花子",
            AccessionNumber="A2",
            PatientSex="F",
            StudyDate="20240202",
            StudyTime="1130",
            Modality="MR",
            StudyID="S2",
            ReferringPhysicianName="Best^George",
        ),
        an_image(
            1,
            study=3,
            PatientID="P3",
            PatientName="Roe^Rick",
            AccessionNumber="A3",
            StudyDate="20230303",
            StudyTime="141500",
            Modality="US",
            StudyDescription="Ahead",
        ),
    )
    return either_source


async def test_series_and_instances_are_found_by_attributes_of_every_level(three_studies):
    await three_studies.keep(an_image(7, study=2, series=5, PatientID="P2", Modality="KO"))

    assert values(await search(three_studies, "series", PatientID="P2"), "0020000E") == [
        "2.25.10002.1",
        "2.25.10002.6",
    ]
    assert values(await search(three_studies, "series", PatientID="P2", Modality="KO"), "0020000E") == [
        "2.25.10002.6"
    ]
    assert values(await search(three_studies, "instances", Modality="KO"), "00080018") == ["2.25.10002.6.7"]
    assert len(await search(three_studies, "instances", SOPClassUID=CT, AccessionNumber="A1")) == 1
    assert await search(three_studies, "instances", SOPInstanceUID="2.25.10002.6.7", InstanceNumber="8") == []
    assert len(await search(three_studies, "studies/2.25.10002/instances")) == 2
    assert len(await search(three_studies, "studies/2.25.10002/series/2.25.10002.6/instances")) == 1


async def test_series_are_found_by_items_of_their_request(source):
    requests = [Dataset(), Dataset()]
    for number, request in enumerate(requests):
        request.ScheduledProcedureStepID, request.RequestedProcedureID = f"S{number}", f"R{number}"
    await source.keep(an_image(1, RequestAttributesSequence=requests))
    step = "RequestAttributesSequence.ScheduledProcedureStepID"

    assert len(await search(source, "series", **{step: "S1"})) == 1
    assert len(await search(source, "series", **{"00400275.00400009": "S1", "00400275.00401001": "R1"})) == 1
    assert await search(source, "series", **{"00400275.00400009": "S1", "00400275.00401001": "R0"}) == []


async def test_names_are_found_by_their_words_where_that_is_asked_for(three_studies):
    async def found(**keys: str) -> list[str]:
        return values(await search(three_studies, "studies", **keys), "00100020")

    assert await found(PatientName="ján do") == []
    assert await found(PatientName="ján do", fuzzymatching="true") == ["P2"]
    assert await found(PatientName="ján do", fuzzymatching="false") == []


async def test_fuzzy_matching_that_is_not_offered_is_told_and_not_done(database_place, tmp_path):
    opened = await open_source(database_place, tmp_path / "data", fuzzy_names=False)
    try:
        await opened.keep(a_ct())
        response = await ask(opened, "studies", PatientName="jürgen", fuzzymatching="true")
    finally:
        await close_source(opened)

    assert response.json() == []
    assert "fuzzymatching is not supported" in response.headers["warning"]


async def test_an_absent_value_is_found_where_that_is_asked_for(source):
    await source.keep(an_image(1, study=1, AccessionNumber=""), an_image(1, study=2))

    matches = await search(source, "studies", AccessionNumber='""', emptyvaluematching="true")

    assert values(matches, "0020000D") == ["2.25.10001"]


# --- pages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tag"), [("studies", "0020000D"), ("series", "0020000E"), ("instances", "00080018")]
)
async def test_pages_lose_and_double_nothing_while_images_arrive(either_source, path, tag):
    """What arrives between two pages has UIDs that sort before, between and behind what is there."""
    for number in (5, 3, 8, 1, 9):
        await either_source.keep(an_image(number, study=number, series=number))
    there = values(await search(either_source, path), tag)

    pages: list[str] = []
    for newcomer in (4, 0, 7):
        pages += values(await search(either_source, path, limit=2, offset=len(pages)), tag)
        await either_source.keep(an_image(newcomer, study=newcomer, series=newcomer))

    assert pages[:5] == there
    assert len(set(pages)) == len(pages)


async def test_a_page_that_is_not_the_last_says_where_to_go_on(source):
    await source.keep(*(an_image(1, study=number) for number in range(3)))

    first = await ask(source, "studies", limit=2)
    last = await ask(source, "studies", limit=2, offset=2)
    behind = await ask(source, "studies", limit=2, offset=9)

    assert (len(first.json()), len(last.json()), behind.json()) == (2, 1, [])
    assert "offset=2" in first.headers["warning"]
    assert "warning" not in last.headers


async def test_a_limit_beyond_the_most_is_told(source):
    await source.keep(a_ct())

    response = await ask(source, "studies", limit=5000)

    assert (len(response.json()), response.headers["warning"]) == (1, '299 xdsi "limit is 1000 at most"')


async def test_nothing_is_an_empty_array(source):
    response = await ask(source, "studies", PatientID="NOBODY")

    assert (response.status_code, response.content) == (200, b"[]")


# --- what is asked wrongly ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "limit=many",
        "limit=-1",
        "offset=x",
        "offset=9999999",
        "StudyDate=yesterday",
        "StudyInstanceUID=1..2",
        "fuzzymatching=perhaps",
        "limit=1&limit=2",
        "PatientID=A&PatientID=B",
        "SeriesNumber=x&StudyTime=99:x",
        "StudyInstanceUID=*",
        "includefield=" + ",".join(["all"] * 101),
        "&".join(f"a{n}=1" for n in range(60)),
    ],
)
async def test_a_value_that_cannot_be_is_refused(source, query):
    async with source.client() as client:
        response = await client.get(f"/dicomweb/studies?{query}")

    assert response.status_code == 400
    assert response.json()["detail"]


@pytest.mark.parametrize(
    "key", ["PatientId", "Modality", "12345678", "WindowCenter", "x<script>", "NumberOfStudyRelatedSeries"]
)
async def test_a_parameter_that_is_not_known_is_left_out_and_told(source, key):
    await source.keep(a_ct())

    response = await ask(source, "studies", **{key: "value"})

    assert len(response.json()) == 1
    assert re.fullmatch(r'299 xdsi "not known here, and left out: [A-Za-z0-9]+"', response.headers["warning"])


async def test_a_path_without_uids_is_refused(source):
    assert (await ask(source, "studies/x/series")).status_code == 400


# --- forms -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, JSON),
        ("*/*", JSON),
        ("application/json", JSON),
        ("application/*", JSON),
        ('multipart/related; type="application/dicom+xml"', "multipart/related"),
        ("multipart/related; type=application/dicom+xml", "multipart/related"),
        ("multipart/*", "multipart/related"),
        (f'multipart/related; type="application/dicom+xml"; q=0.5, {JSON}', JSON),
        ("text/html", ""),
        ('multipart/related; type="application/dicom"', ""),
    ],
)
@pytest.mark.parametrize("path", ["studies", "studies/2.25.11/metadata"])
async def test_the_answer_has_the_form_that_is_liked_best(source, path, accept, form):
    await source.keep(a_ct())

    response = await ask(source, path, accept)

    assert response.status_code == (200 if form else 406)
    assert response.headers["content-type"].startswith(form or "application/problem+json")


@pytest.mark.parametrize("path", ["studies", "studies/2.25.11/metadata"])
async def test_parts_in_xml_say_what_json_says(source, path):
    await source.keep(a_ct(), an_sr())
    accept = 'multipart/related; type="application/dicom+xml"'

    as_xml, as_json = await ask(source, path, accept), (await ask(source, path)).json()

    boundary = as_xml.headers["content-type"].partition("boundary=")[2]
    parts = as_xml.content.split(f"--{boundary}".encode())[1:-1]
    trees = [etree.fromstring(part.partition(b"\r\n\r\n")[2].rstrip()) for part in parts]
    tags = [[one.get("tag") for one in tree] for tree in trees]
    assert tags == [list(one) for one in as_json]
    assert trees[0].find("*[@keyword='PatientName']//{*}FamilyName").text == "Müller"


# --- who may know it ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*LEVELS, "studies/2.25.11/series", "studies/2.25.11/instances"])
async def test_what_is_refused_is_as_if_it_did_not_exist(source, path):
    await source.keep(a_ct())
    source.consent.refused = frozenset({cx("P1")})

    refused = await ask(source, path)

    assert (refused.status_code, refused.content) == (200, b"[]")
    (event,) = source.recorder.taken()
    assert (event.outcome, event.event_types[0].code) == (Outcome.SERIOUS_FAILURE, "RAD-129")
    assert event.outcome_description == "refused by consent: policy opt-out"
    assert cx("P1") in {one.object_id for one in event.objects}


async def test_a_page_is_filled_with_what_may_be_known(source):
    await source.keep(*(an_image(1, study=number, PatientID=f"P{number % 2}") for number in range(6)))
    source.consent.refused = frozenset({cx("P0")})

    response = await ask(source, "studies", limit=2, offset=1)

    assert values(response.json(), "0020000D") == ["2.25.10003", "2.25.10005"]
    assert "warning" not in response.headers


async def test_a_search_stands_in_the_trail_with_its_query_and_its_patient(source):
    await source.keep(a_ct())

    await ask(source, "studies", PatientID="P1")

    (event,) = source.recorder.taken()
    assert (event.event_id.code, event.event_types[0].code, event.outcome) == (
        "110112",
        "RAD-129",
        Outcome.SUCCESS,
    )
    assert cx("P1") in {one.object_id for one in event.objects}
    assert any(b"PatientID=P1" in one.query for one in event.objects if one.query)


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
async def test_what_is_rejected_is_found_and_counted_nowhere(either_source, title):
    note = a_rejection_note(title)
    await either_source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.131"))
    await either_source.keep(note)

    (study,) = await search(either_source, "studies")
    assert (value(study, "00201206"), value(study, "00201208"), study["00080061"]["Value"]) == (1, 1, ["CT"])
    assert values(await search(either_source, "series"), "00201209") == [1]
    assert values(await search(either_source, "instances"), "00080018") == ["2.25.131"]
    assert await search(either_source, "studies", ModalitiesInStudy="KO") == []


async def test_a_study_that_is_rejected_as_a_whole_is_found_no_more(either_source):
    await either_source.keep(a_ct(), a_rejection_note())

    for path in ("studies", "series", "instances", "studies/2.25.11/series"):
        assert await search(either_source, path) == []


async def test_what_is_set_aside_is_found_when_it_is_accepted(either_source):
    await either_source.keep(a_ct(), a_ct(SOPInstanceUID="2.25.99", PatientID="P2", PatientName="Other^One"))

    (before,) = await search(either_source, "studies")
    await either_source.parts.instances.accept("2.25.99")
    (after,) = await search(either_source, "studies")

    assert [(value(one, "00100020"), value(one, "00201208")) for one in (before, after)] == [
        ("P1", 1),
        ("P2", 1),
    ]
    assert await search(either_source, "studies", PatientID="P1") == []


# --- what came before --------------------------------------------------------------------------------


async def test_studies_of_before_are_entered_and_not_silently_missing_meanwhile(either_source):
    database = either_source.parts.database
    await either_source.keep(a_ct(), an_sr())
    right = await search(either_source, "studies")

    async def forget(transaction):
        for table in (study, series):
            await transaction.execute(table.delete())
        await transaction.execute(insert(uncatalogued_study).values(study_instance_uid="2.25.11"))

    await database.write(forget)
    meanwhile = await ask(either_source, "studies")
    while not await fill(database, "9999"):
        pass

    assert (meanwhile.status_code, meanwhile.headers["retry-after"]) == (503, "5")
    assert await search(either_source, "studies") == right


async def test_what_another_release_took_in_is_entered(either_source):
    database = either_source.parts.database
    await either_source.keep(a_ct())
    right = await search(either_source, "studies")

    async def forget(transaction):
        for table in (study, series):
            await transaction.execute(table.delete())

    await database.write(forget)
    await fill(database, "2000")

    assert await search(either_source, "studies") == right
