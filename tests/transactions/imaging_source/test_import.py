"""`xdsi import`: files and folders to an imaging source, and what it tells of them."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager

import pytest

from tests.support.dicom import a_ct, an_sr, part10
from tests.support.http_server import serving
from tests.support.intake import an_intake, stow_app
from tests.support.made_studies import Studies, studies
from xdsi import import_
from xdsi.failures import Failed
from xdsi.import_ import dicom_files, import_files, send_files

__all__ = ["studies"]


@asynccontextmanager
async def an_imaging_source(folder):
    async with an_intake(folder) as intake:
        app = stow_app(intake)
        async with serving(app) as server:
            yield intake, intake.settings.model_copy(update={"port": server.port})


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "studies"
    (made / "series").mkdir(parents=True)
    (made / "series" / "1.dcm").write_bytes(part10(a_ct()))
    (made / "report").write_bytes(part10(an_sr()))
    (made / "README.txt").write_text("no DICOM")
    (made / "DICOMDIR").write_bytes(part10(a_ct()))
    return made


def test_folders_are_searched_for_part_10_files_each_once(folder):
    found = list(dicom_files([folder, folder / "report"]))

    assert found == [folder / "report", folder / "series" / "1.dcm"]


async def test_files_are_stored_and_their_studies_told(tmp_path, folder):
    told: list[int] = []
    async with an_imaging_source(tmp_path) as (intake, settings):
        files = list(dicom_files([folder]))

        imported = await import_files(settings, files, sent=told.append)

        assert imported.stored == {"2.25.13", "2.25.14"}
        assert imported.studies == {"2.25.11"}
        assert {path.read_bytes() for path in intake.kept} == {path.read_bytes() for path in files}
    assert sum(told) == sum(path.stat().st_size for path in files)


async def test_every_study_of_other_makers_is_imported_byte_for_byte(tmp_path, studies: Studies):
    async with an_imaging_source(tmp_path) as (intake, settings):
        files = studies.files

        assert await send_files(settings, files) == len(files)
        assert await send_files(settings, files) == len(files)

        found = await intake.store.find_instances([path.stem for path in files])
        assert all(found[path.stem].path.read_bytes() == path.read_bytes() for path in files)


async def test_a_refused_file_is_named_with_its_reason_and_the_others_are_stored(tmp_path, folder):
    broken = folder / "broken.dcm"
    broken.write_bytes(part10(a_ct(SOPInstanceUID="2.25.99"))[:-10])
    other = folder / "other.dcm"
    other.write_bytes(part10(a_ct(PatientID="P2", SOPInstanceUID="2.25.14")))
    async with an_imaging_source(tmp_path) as (_, settings):
        imported = await import_files(settings, [*dicom_files([folder])])

    assert imported.stored >= {"2.25.13", "2.25.14"}
    assert "truncated" in imported.refused[str(broken)]
    (second,) = imported.refused.keys() - {str(broken)}
    assert second in {str(other), str(folder / "report")}
    assert "0110H" in imported.refused[second]


async def test_many_files_go_in_several_requests(tmp_path, monkeypatch):
    files = []
    for number in range(5):
        files.append(tmp_path / f"{number}.dcm")
        files[-1].write_bytes(part10(a_ct(SOPInstanceUID=f"2.25.{100 + number}")))
    monkeypatch.setattr(import_, "_FILES_PER_REQUEST", 2)
    async with an_imaging_source(tmp_path) as (intake, settings):
        assert await send_files(settings, files) == 5

    assert len(intake.trail.events) == 3


async def test_a_source_that_is_not_there_is_named(tmp_path, folder):
    async with an_intake(tmp_path) as intake:
        settings = intake.settings.model_copy(update={"port": 1})

        with pytest.raises(Failed, match=r"no answer from http://127\.0\.0\.1:1/dicomweb.*is it running"):
            await send_files(settings, list(dicom_files([folder])))


async def test_a_source_that_takes_nothing_says_why(tmp_path, folder):
    async with an_imaging_source(tmp_path) as (intake, settings):
        intake.trail.full = True

        with pytest.raises(Failed, match="503: the audit trail cannot be written now"):
            await send_files(settings, list(dicom_files([folder])))


def test_what_is_told_is_json_when_asked_for(capsys):
    imported = import_.Imported(stored={"2.25.13"}, studies={"2.25.11"}, refused={"file": "truncated"})

    import_._tell(imported, as_json=True, quiet=False)

    assert json.loads(capsys.readouterr().out) == {
        "stored": 1,
        "studies": ["2.25.11"],
        "warned": {},
        "refused": {"file": "truncated"},
        "left_out": {},
    }


def test_numbers_come_in_their_form_and_ids_alone_when_that_is_asked_for(capsys):
    imported = import_.Imported(stored={"2.25.13"}, studies={"2.25.11"})

    import_._tell(imported, as_json=False, quiet=False)
    import_._tell(imported, as_json=False, quiet=True)

    assert capsys.readouterr().out == "2.25.11\n1 instance of 1 study is kept\n2.25.11\n"
