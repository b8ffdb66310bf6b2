"""Codes and media types outside the value sets of the affinity domain are refused (E06)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from registry.domain.value_sets import (
    ANYTHING,
    ATTRIBUTES,
    ValueSetError,
    read_value_sets,
    value_sets_of,
)
from registry.settings import RegistrySettings
from registry.transactions import iti42, iti61
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, Code
from shared.errors import Rejected
from shared.http.client import http_client
from shared.messages.iti42 import ITI42, RegisterRequest
from shared.settings import SettingsError, TlsSettings
from shared.soap.client import SoapClient
from tests.support.metadata import (
    CT,
    DIAGNOSTIC_IMAGING,
    HOSPITAL,
    IMAGES,
    MANIFEST,
    NORMAL,
    RADIOLOGY,
    a_document_entry,
    a_folder,
    a_submission,
    an_association,
)
from tests.support.registry import Registry, codes, is_success
from tests.transactions.registry.test_service import served

REASON = Code("why", "1.2.3", "Because")
ALLOWED = {
    "classCode": [str(IMAGES)],
    "typeCode": [str(DIAGNOSTIC_IMAGING)],
    "formatCode": [str(MANIFEST)],
    "healthcareFacilityTypeCode": [str(HOSPITAL)],
    "practiceSettingCode": [str(RADIOLOGY)],
    "confidentialityCode": [str(NORMAL)],
    "eventCodeList": [str(CT), "ü^^1.2"],
    "contentTypeCode": [str(DIAGNOSTIC_IMAGING)],
    "codeList": [str(DIAGNOSTIC_IMAGING)],
    "associationDocumentation": [str(REASON)],
    "mimeType": ["application/dicom", "Text/Plain"],
}
OTHER = Code("other", "1.2.3")


@pytest.fixture
def strict(registry):
    return Registry(replace(registry.parts, value_sets=value_sets_of(ALLOWED)))


def on_demand(submission):
    return replace(
        submission,
        document_entries=tuple(
            replace(entry, object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None)
            for entry in submission.document_entries
        ),
    )


def documented(code):
    one, two = a_document_entry(), a_document_entry()
    related = an_association(one.entry_uuid, two.entry_uuid, AssociationType.XFRM, documentation=(code,))
    return a_submission(one, two, associations=[related])


def entry(**changes):
    return lambda: a_submission(a_document_entry(**changes))


BROKEN = {
    "classCode": entry(class_code=OTHER),
    "typeCode": entry(type_code=OTHER),
    "formatCode": entry(format_code=OTHER),
    "healthcareFacilityTypeCode": entry(healthcare_facility_type_code=OTHER),
    "practiceSettingCode": entry(practice_setting_code=OTHER),
    "confidentialityCode": entry(confidentiality_codes=(NORMAL, OTHER)),
    "eventCodeList": entry(event_codes=(CT, OTHER)),
    "contentTypeCode": lambda: a_submission(content_type_code=OTHER),
    "codeList": lambda: a_submission(folders=[a_folder(codes=(DIAGNOSTIC_IMAGING, OTHER))]),
    "associationDocumentation": lambda: documented(OTHER),
    "mimeType": entry(mime_type="application/pdf"),
}


@pytest.mark.parametrize("served", [iti42.SERVED, iti61.SERVED], ids=["ITI-42", "ITI-61"])
async def test_each_attribute_is_judged_by_its_value_set(strict, served):
    assert set(BROKEN) == set(ATTRIBUTES)
    for attribute, make in BROKEN.items():
        given = make() if served is iti42.SERVED else on_demand(make())
        with pytest.raises(Rejected) as refusal:
            await strict.perform(served, RegisterRequest.of(given))
        assert codes(refusal.value) == ["XDSRegistryMetadataError"], attribute
        assert refusal.value.errors[0].location.endswith(f"/{attribute}")


@pytest.mark.parametrize(
    "submission",
    [
        a_submission(folders=[a_folder()]),
        documented(REASON),
        a_submission(a_document_entry(mime_type="text/plain; charset=utf-8", event_codes=())),
        a_submission(a_document_entry(mime_type="APPLICATION/DICOM")),
        a_submission(a_document_entry(event_codes=(Code("u\u0308", "1.2", "in another normal form"),))),
        a_submission(a_document_entry(class_code=replace(IMAGES, display_name="another name"))),
    ],
)
async def test_what_is_allowed_is_accepted(strict, submission):
    assert not (await strict.register(submission)).errors


@pytest.mark.parametrize(
    "code",
    [
        Code(IMAGES.value.lower(), IMAGES.scheme),
        Code(IMAGES.value, "1.2.3"),
        Code("ü", "1.3"),
    ],
)
async def test_a_code_is_compared_by_value_and_scheme(strict, code):
    assert await strict.refused(a_submission(a_document_entry(class_code=code))) == [
        "XDSRegistryMetadataError"
    ]


async def test_an_attribute_without_value_set_may_have_any(registry):
    lenient = Registry(replace(registry.parts, value_sets=value_sets_of({"typeCode": ["a^^1.2"]})))
    await lenient.register(
        a_submission(a_document_entry(type_code=Code("a", "1.2"), class_code=OTHER, mime_type="x/y"))
    )
    assert await lenient.refused(a_submission()) == ["XDSRegistryMetadataError"]


async def test_without_a_file_nothing_is_restricted(registry):
    assert registry.parts.value_sets is ANYTHING
    await registry.register(a_submission(a_document_entry(class_code=OTHER, mime_type="x/y")))


# --- the file --------------------------------------------------------------------------------------------


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_toml_and_json_say_the_same(tmp_path):
    toml = "\n".join(f"{name} = {json.dumps(values, ensure_ascii=False)}" for name, values in ALLOWED.items())
    assert read_value_sets(written(tmp_path, "codes.toml", toml)) == value_sets_of(ALLOWED)
    assert read_value_sets(written(tmp_path, "codes.JSON", json.dumps(ALLOWED))) == value_sets_of(ALLOWED)


WRONG = {
    "no attribute": ("codes.toml", 'classcode = ["a^^1"]', "classcode is no attribute"),
    "no list": ("codes.toml", 'classCode = "a^^1"', "classCode needs a list"),
    "an empty list": ("codes.json", '{"classCode": []}', "leave it out"),
    "a code without scheme": ("codes.json", '{"classCode": ["a"]}', r"must be written code\^\^scheme"),
    "a number": ("codes.json", '{"classCode": [1]}', "must be written"),
    "no media type": ("codes.toml", 'mimeType = ["pdf"]', "must be written type/subtype"),
    "no table": ("codes.json", "[]", "is a table"),
    "no JSON": ("codes.json", "{", "cannot be read"),
    "no TOML": ("codes.toml", "{", "cannot be read"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_meant_is_refused_at_start(tmp_path, name):
    file, text, told = WRONG[name]
    path = written(tmp_path, file, text)
    with pytest.raises(ValueSetError, match=told):
        read_value_sets(path)
    with pytest.raises(SettingsError, match="XDSI_VALUE_SETS"):
        RegistrySettings.load(environ={"XDSI_VALUE_SETS": str(path)})


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"XDSI_VALUE_SETS.*cannot be read"):
        RegistrySettings.load(environ={"XDSI_VALUE_SETS": str(tmp_path / "none.toml")})


def test_a_right_file_is_taken(tmp_path):
    path = written(tmp_path, "codes.json", json.dumps(ALLOWED))
    assert RegistrySettings.load(environ={"XDSI_VALUE_SETS": str(path)}).value_sets == path


async def test_a_registry_that_is_told_of_a_file_judges_by_it(tmp_path):
    path = written(tmp_path, "codes.toml", 'mimeType = ["application/dicom"]')
    changes = {"value_sets": path, "patients": "any"}
    async with (
        served(tmp_path, **changes) as service,
        http_client(TlsSettings(), peers=(service.base,)) as http,
    ):
        soap = SoapClient(http)
        refused = a_submission(a_document_entry(mime_type="text/xml"))
        response = await soap.call(ITI42, service.url, RegisterRequest.of(refused))
        assert codes(response.errors[0]) == ["XDSRegistryMetadataError"]
        assert is_success(await soap.call(ITI42, service.url, RegisterRequest.of(a_submission())))
