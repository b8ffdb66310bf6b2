"""On-Demand and delayed entries on real services, with mutual TLS and signed assertions: entered by the
command, found, retrieved, and made again when the study has grown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from repository.settings import RepositorySettings
from shared.dicom.kos import read_manifest
from shared.ebrim import schemes
from shared.ebrim.model import AssociationType, DocumentEntry
from shared.errors import Actor
from shared.messages.documents import DocumentRequest, RetrieveDocumentSetResponse
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti43 import ITI43, RetrieveDocumentSetRequest
from shared.soap.mtom import Received
from tests.support.community import (
    CLERK,
    RADIOLOGIST,
    StudyFiles,
    assertion_of,
    call,
    consumer_for,
    make_known,
    permit,
    running,
    settings_of,
    store,
    studies_in,
    trail_until,
)
from tests.support.forked import run
from xdsi.builtin_study import write_study
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [pytest.mark.heavy]

FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with running(tmp_path_factory.mktemp("community")) as stage:
        yield stage


@pytest.fixture
def study(stage: Stage) -> StudyFiles:
    write_study(stage.folder / "built-in")
    [study] = studies_in(stage.folder / "built-in")
    return study


def entered(stage: Stage, option: str, study: StudyFiles) -> str:
    """Enter a study by `xdsi publish`; its uniqueId."""
    done = run("publish", study.uid, option, "--json", "--config", stage.folder / "north.toml")
    assert done.returncode == 0, done.stderr
    [outcome] = json.loads(done.stdout)
    return str(outcome["document_unique_id"])


async def retrieved(stage: Stage, unique_id: str, who: Any = RADIOLOGIST) -> RetrieveDocumentSetResponse:
    settings: RepositorySettings = settings_of(stage, Service.REPOSITORY)
    asked = DocumentRequest(repository_unique_id=settings.repository_unique_id, document_unique_id=unique_id)
    return await call(
        stage,
        ITI43,
        stage.url("repository", "/xds/repository"),
        RetrieveDocumentSetRequest(documents=(asked,)),
        assertion=assertion_of(stage, who),
    )


def octets(response: RetrieveDocumentSetResponse) -> bytes:
    [document] = response.documents
    assert isinstance(document.content, Received)
    return document.content.path.read_bytes()


async def found(stage: Stage, patient_id: str, object_type: str) -> list[DocumentEntry]:
    parameters = {
        "$XDSDocumentEntryPatientId": patient_id,
        "$XDSDocumentEntryStatus": [APPROVED],
        "$XDSDocumentEntryType": [object_type],
    }
    return list((await query(stage, FIND_DOCUMENTS, parameters)).document_entries)


async def query(stage: Stage, query_id: str, parameters: dict[str, Any]) -> Any:
    response = await call(
        stage,
        ITI18,
        stage.url("registry", "/xds/registry"),
        StoredQueryRequest(
            query_id=query_id,
            return_type=ReturnType.LEAF_CLASS,
            parameters=encode_parameters(parameters),
        ),
        assertion=assertion_of(stage),
    )
    assert not response.errors, response.errors
    return response.objects


def names(manifest: bytes) -> set[str]:
    return {instance.sop_instance_uid for _, _, instance in read_manifest(manifest).instances}


async def test_a_study_is_shared_on_demand_and_then_delayed(stage: Stage, study: StudyFiles):
    paths = dict(study.files)
    last, last_path = paths.popitem()
    await make_known(stage, study.patient)
    await permit(stage, study.patient)
    await store(stage, [StudyFiles(study.uid, study.patient, paths)])

    unique_id = entered(stage, "--on-demand", study)

    [entry] = await found(stage, study.patient_id, schemes.ON_DEMAND)
    assert (entry.unique_id, entry.hash, entry.size) == (unique_id, "", None)

    async with consumer_for(stage) as consumer:
        [shown] = await consumer.find(study.patient_id)
        assert shown.unique_id == unique_id
        images = await consumer.retrieve(
            await consumer.manifest(shown), stage.folder / "south" / "images", patient_id=shown.patient_id
        )
    assert (images.instances, images.missing) == (len(paths), ())

    refused = await retrieved(stage, unique_id, CLERK)
    assert [error.code_for(Actor.REPOSITORY) for error in refused.errors] == ["XDSDocumentUniqueIdError"]

    first = await retrieved(stage, unique_id)
    assert names(octets(first)) == set(paths)
    again = await retrieved(stage, unique_id)
    assert octets(again) == octets(first)

    await store(stage, [StudyFiles(study.uid, study.patient, {last: last_path})])
    grown = await retrieved(stage, unique_id)
    assert names(octets(grown)) == set(study.files)

    [snapshot] = await found(stage, study.patient_id, schemes.STABLE)
    assert snapshot.unique_id == grown.documents[0].new_document_unique_id
    assert snapshot.hash == hashlib.sha1(octets(grown)).hexdigest()
    associations = (
        await query(stage, GET_ASSOCIATIONS, {"$uuid": [entry.entry_uuid, snapshot.entry_uuid]})
    ).associations
    assert len([one for one in associations if one.association_type == AssociationType.IS_SNAPSHOT_OF]) == 2
    [replacement] = [one for one in associations if one.association_type == AssociationType.RPLC]
    assert replacement.source_object == snapshot.entry_uuid
    before = await retrieved(stage, first.documents[0].new_document_unique_id)
    assert octets(before) == octets(first)

    later = entered(stage, "--delayed", study)
    [placeholder] = [
        one for one in await found(stage, study.patient_id, schemes.STABLE) if one.unique_id == later
    ]
    assert (placeholder.size, placeholder.hash) == (0, hashlib.sha1(b"").hexdigest())
    made = await retrieved(stage, later)
    [filled] = [one for one in await found(stage, study.patient_id, schemes.STABLE) if one.unique_id == later]
    assert (filled.size, filled.hash) == (len(octets(made)), hashlib.sha1(octets(made)).hexdigest())

    def told(records: list[dict[str, Any]]) -> bool:
        types = [code["code"] for record in records for code in record["types"]]
        return types.count("ITI-61") >= 2 and types.count("ITI-57") >= 2 and "manifest-on-demand" in types

    assert told(await trail_until(stage, told))
