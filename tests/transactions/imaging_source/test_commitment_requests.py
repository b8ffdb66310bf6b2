"""Storage commitment over the web (PS3.18 chapter 13): what is asked about, and what is told."""

from __future__ import annotations

import json

import pytest

from shared.dicom import native_xml
from tests.support.dicom import CT, a_ct
from tests.support.imaging_source import Source, a_rejection_note, source

__all__ = ["source"]

UID = "2.25.7001"
MR = "1.2.840.10008.5.1.4.1.1.4"


def about(*instances: tuple[str, str]) -> dict:
    items = [
        {"00081150": {"vr": "UI", "Value": [sop_class]}, "00081155": {"vr": "UI", "Value": [uid]}}
        for sop_class, uid in instances
    ]
    return {"00081199": {"vr": "SQ", "Value": items}}


async def post(source: Source, content: bytes, uid: str = UID, **headers: str):
    async with source.client() as http:
        address = f"/dicomweb/commitment-requests/{uid}"
        return await http.post(address, content=content, headers=headers)


async def ask(source: Source, *instances: tuple[str, str], uid: str = UID):
    given = {"content-type": "application/dicom+json", "accept": "application/dicom+json"}
    return await post(source, json.dumps([about(*instances)]).encode(), uid, **given)


async def check(source: Source, uid: str = UID):
    async with source.client() as http:
        return await http.get(f"/dicomweb/commitment-requests/{uid}")


def uids(answer, tag: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.json().get(tag, {}).get("Value", [])]


def no_grace(source: Source) -> None:
    settings = source.parts.settings.model_copy(update={"commitment_grace_seconds": 0.0})
    object.__setattr__(source.parts, "settings", settings)


async def test_what_is_kept_is_committed_at_once_and_told_again(source):
    await source.keep(a_ct())

    answer, again = await ask(source, (CT, "2.25.13")), await check(source)

    assert (answer.status_code, again.status_code) == (200, 200)
    assert uids(answer, "00081199") == ["2.25.13"]
    assert answer.json()["00081195"]["Value"] == [UID]
    assert "00081198" not in answer.json()
    assert again.json() == answer.json()


async def test_what_is_on_its_way_is_waited_for(source):
    pending, still = await ask(source, (CT, "2.25.13")), await check(source)
    await source.keep(a_ct())

    done = await check(source)

    assert (pending.status_code, still.status_code, done.status_code) == (202, 202, 200)
    assert uids(done, "00081199") == ["2.25.13"]


async def test_each_failure_has_its_reason(source):
    no_grace(source)
    await source.keep(a_ct())
    await source.keep(a_ct(SOPInstanceUID="2.25.14"))
    await source.keep(a_rejection_note(rejected=["2.25.14"]))

    answer = await ask(source, (CT, "2.25.14"), (MR, "2.25.13"), (CT, "2.25.99"))

    reasons = {
        item["00081155"]["Value"][0]: item["00081197"]["Value"][0]
        for item in answer.json()["00081198"]["Value"]
    }
    assert reasons == {"2.25.14": 0x0112, "2.25.13": 0x0119, "2.25.99": 0x0112}


async def test_a_result_stays_what_it_was(source):
    no_grace(source)
    before = await ask(source, (CT, "2.25.13"))
    await source.keep(a_ct())

    assert (await ask(source, (CT, "2.25.13"))).json() == before.json()


async def test_a_transaction_uid_is_for_one_request(source):
    await source.keep(a_ct())
    await ask(source, (CT, "2.25.13"))

    answer = await ask(source, (CT, "2.25.14"))

    assert answer.status_code == 409
    assert uids(await check(source), "00081199") == ["2.25.13"]


async def test_it_is_asked_and_told_in_xml_as_well(source):
    await source.keep(a_ct())

    kind = "application/dicom+xml"
    content = native_xml.encode(about((CT, "2.25.13")))
    answer = await post(source, content, **{"content-type": kind, "accept": kind})

    assert answer.status_code == 200
    assert native_xml.decode(answer.content)["00081199"] == about((CT, "2.25.13"))["00081199"]


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"no json", "application/dicom+json", 400),
        (b"[]", "application/dicom+json", 400),
        (b"[{}]", "application/dicom+json", 400),
        (json.dumps([about((CT, "no uid"))]).encode(), "application/dicom+json", 400),
        (b"<other/>", "application/dicom+xml", 400),
        (b"<", "application/dicom+xml", 400),
        (b"", "text/plain", 415),
        (b"", "", 415),
    ],
)
async def test_what_cannot_be_read_is_told(source, content, media_type, status):
    answer = await post(source, content, **{"content-type": media_type})

    assert answer.status_code == status


async def test_what_nobody_asked_for_is_not_known(source):
    assert (await check(source)).status_code == 404
    assert (await check(source, "no-uid")).status_code == 400
