"""What the registry serves beside ITI-18 and 42, over a socket, as peers call it."""

from dataclasses import replace

import pytest

from registry.domain.multi_patient_queries import FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS
from registry.domain.stored_queries import GET_DOCUMENTS
from shared.ebrim import schemes
from shared.errors import Actor
from shared.http.client import http_client
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.iti42 import RegisterRequest
from shared.messages.iti44 import (
    ITI44_ADD,
    ITI44_MERGE,
    ITI44_REVISE,
    AcknowledgementCode,
    InstanceId,
    Interaction,
    PatientFeedRequest,
)
from shared.messages.iti51 import ITI51
from shared.messages.iti61 import ITI61
from shared.messages.iti62 import ITI62, RemoveMetadataRequest
from shared.settings import TlsSettings
from shared.soap.client import SoapClient
from tests.support.metadata import DOMAIN, OTHER_PATIENT, PATIENT, a_document_entry, a_submission
from tests.support.registry import APPROVED, is_success
from tests.transactions.registry.test_service import served

FIND = StoredQueryRequest(
    query_id=FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS.query_id,
    return_type=ReturnType.LEAF_CLASS,
    parameters=encode_parameters(
        {
            "$XDSDocumentEntryPatientId": [PATIENT, OTHER_PATIENT],
            "$XDSDocumentEntryStatus": [APPROVED],
            "$XDSDocumentEntryType": [schemes.ON_DEMAND],
        }
    ),
)
ENTRY = "urn:ihe:iti:2010:RegisterOnDemandDocumentEntryResponse"


def fed(interaction, patient_id, prior_id=""):
    def named(cx):
        return ((InstanceId(DOMAIN, cx.partition("^")[0]),),)

    return PatientFeedRequest(
        interaction=interaction,
        message_id=InstanceId("1.2.3", f"{interaction} {patient_id}"),
        patients=named(patient_id),
        priors=named(prior_id) if prior_id else (),
    )


@pytest.mark.parametrize("changes", [{}, {"on_demand_response_action": ENTRY}], ids=["plain", "with Entry"])
async def test_a_patient_is_fed_a_document_offered_found_merged_and_removed(tmp_path, changes):
    async with (
        served(tmp_path, **changes) as service,
        http_client(TlsSettings(), peers=(service.base,)) as http,
    ):
        soap = SoapClient(http)
        for patient in (PATIENT, OTHER_PATIENT):
            fed_in = await soap.call(ITI44_ADD, service.url, fed(Interaction.ADD, patient))
            assert fed_in.code is AcknowledgementCode.ACCEPT
        revised = await soap.call(ITI44_REVISE, service.url, fed(Interaction.REVISE, PATIENT))
        assert revised.code is AcknowledgementCode.ACCEPT

        entry = a_document_entry(
            object_type=schemes.ON_DEMAND, creation_time=None, hash="", size=None, patient_id=OTHER_PATIENT
        )
        submission = a_submission(entry)
        assert is_success(await soap.call(ITI61, service.url, RegisterRequest.of(submission)))
        merged = await soap.call(
            ITI44_MERGE, service.url, fed(Interaction.MERGE, PATIENT, prior_id=OTHER_PATIENT)
        )
        assert merged.code is AcknowledgementCode.ACCEPT

        found = await soap.call(ITI51, service.url, FIND)
        assert [replace(item, logical_id="") for item in found.objects.document_entries] == [
            replace(entry, patient_id=PATIENT)
        ]
        things = (submission.submission_set, entry, *submission.associations)
        removal = RemoveMetadataRequest(ids=tuple(thing.entry_uuid for thing in things))
        assert is_success(await soap.call(ITI62, service.url, removal))
        assert not (await soap.call(ITI51, service.url, FIND)).objects


@pytest.mark.parametrize("number", [1_001, 100_000])
async def test_a_query_of_too_many_values_is_refused_and_the_record_of_it_is_small(tmp_path, number):
    values = [f"1.2.{each}" for each in range(number)]
    async with served(tmp_path) as service, http_client(TlsSettings(), peers=(service.base,)) as http:
        soap = SoapClient(http)
        for transaction, query in ((ITI18, GET_DOCUMENTS.query_id), (ITI51, FIND.query_id)):
            request = StoredQueryRequest(
                query_id=query,
                return_type=ReturnType.OBJECT_REF,
                parameters=encode_parameters({"$XDSDocumentEntryUniqueId": values}),
            )
            response = await soap.call(transaction, service.url, request)
            assert [error.code_for(Actor.REGISTRY) for error in response.errors] == [
                "XDSStoredQueryParamNumber"
            ]
        good = replace(
            request,
            query_id=GET_DOCUMENTS.query_id,
            parameters=encode_parameters({"$XDSDocumentEntryUniqueId": values[:1_000]}),
        )
        assert (await soap.call(ITI18, service.url, good)).errors == ()
    # Segments are filled with zeros beforehand.
    spooled = b"".join(
        path.read_bytes().strip(b"\0") for path in tmp_path.rglob("audit*/*") if path.is_file()
    )
    assert spooled.count(b"</AuditMessage>") >= 3
    assert len(spooled) < 200_000
