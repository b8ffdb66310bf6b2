"""ITI-57 and ITI-92 on the wire (supplements XDS Metadata Update and Restricted Metadata Update)."""

import pytest
from hypothesis import HealthCheck, given, settings
from lxml import etree

from shared.ebrim.codec import DecodedSubmission
from shared.ebrim.model import AssociationType
from shared.errors import (
    Actor,
    InvalidRequest,
    LocalPolicyRestriction,
    MetadataAnnotationError,
    MetadataError,
    MetadataIdentifierError,
    MetadataUpdateError,
    MetadataUpdateOperationError,
    MetadataVersionError,
    NoSubmissionSet,
    ObjectTypeError,
    PatientIdReconciliationError,
    UnmodifiableMetadata,
)
from shared.faults import SenderFault
from shared.messages.iti57 import ITI57, UpdateRequest
from shared.messages.iti92 import ITI92
from shared.messages.registry import Status
from shared.xml import NS
from tests.support.metadata import a_document_entry, an_association, submissions
from tests.support.registry import APPROVED, DEPRECATED
from tests.support.schemas import LCM, RS, assert_valid
from tests.support.updates import a_status, a_version, an_update, new_version, slots, submitted

LAW = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
BOTH = pytest.mark.parametrize("transaction", [ITI57, ITI92], ids=("57", "92"))


@BOTH
def test_every_message_survives_its_encoding(transaction):
    @LAW
    @given(submissions())
    def law(submission):
        octets = transaction.encode_request(UpdateRequest.of(submission)).xml
        assert_valid(octets, LCM)
        body = etree.fromstring(octets)
        assert body.tag == transaction.body_root
        assert transaction.decode_request(body, {}) == UpdateRequest.of(submission)

    law()


def test_operations_are_read_with_their_slots_and_without_errors():
    version = new_version(a_document_entry(), entry_uuid="v2")
    item = an_association(version.logical_id, a_document_entry().entry_uuid, AssociationType.APND)
    message = an_update(
        a_version(version, "1", "no"), a_status(version.logical_id, APPROVED, DEPRECATED), submitted(item)
    )

    decoded = ITI57.decode_request(
        etree.fromstring(ITI57.encode_request(UpdateRequest.of(message)).xml), {}
    ).decoded

    assert decoded.errors == decoded.warnings == ()
    assert decoded.submission == message
    assert decoded.submission.document_entries[0].logical_id == version.logical_id
    assert [association.extra_slots for association in decoded.submission.associations] == [
        slots(PreviousVersion="1", AssociationPropagation="no"),
        slots(OriginalStatus=APPROVED, NewStatus=DEPRECATED),
        (),
        (),
    ]


def test_the_skeleton_of_another_product_is_read():
    """As others write it: symbolic ids, status, and the version in VersionInfo."""
    octets = ITI57.encode_request(
        UpdateRequest.of(an_update(a_version(new_version(a_document_entry(), entry_uuid="Document01"))))
    ).xml
    octets = octets.replace(b'versionName="1"', b'versionName="1.1"')
    decoded = ITI57.decode_request(etree.fromstring(octets), {}).decoded
    assert decoded.errors == ()


def test_a_message_without_submission_set_has_an_error_of_its_own():
    empty = etree.fromstring(
        f'<SubmitObjectsRequest xmlns="{NS["lcm"]}"><RegistryObjectList xmlns="{NS["rim"]}"/>'
        "</SubmitObjectsRequest>"
    )
    decoded = ITI57.decode_request(empty, {}).decoded
    assert decoded.submission is None
    assert [type(error) for error in decoded.errors] == [NoSubmissionSet]
    # Elsewhere it is an error of the metadata.
    assert decoded.errors[0].code_for(Actor.REGISTRY) == "XDSRegistryMetadataError"


@BOTH
def test_a_message_without_object_list_is_a_fault_that_says_so(transaction):
    with pytest.raises(SenderFault, match="RegistryObjectList"):
        transaction.decode_request(etree.fromstring(f'<SubmitObjectsRequest xmlns="{NS["lcm"]}"/>'), {})


@BOTH
def test_what_could_not_be_decoded_is_not_sent_on(transaction):
    broken = DecodedSubmission(submission=None, errors=(MetadataError("x"),))
    with pytest.raises(ValueError, match="cannot be sent"):
        transaction.encode_request(UpdateRequest(decoded=broken))


@BOTH
def test_the_answer_carries_the_codes_of_metadata_update(transaction):
    kinds = {
        MetadataUpdateError: "XDSMetadataUpdateError",
        MetadataUpdateOperationError: "XDSMetadataUpdateOperationError",
        MetadataVersionError: "XDSMetadataVersionError",
        PatientIdReconciliationError: "XDSPatientIDReconciliationError",
        MetadataIdentifierError: "XDSMetadataIdentifierError",
        ObjectTypeError: "XDSObjectTypeError",
        MetadataAnnotationError: "XDSMetadataAnnotationError",
        UnmodifiableMetadata: "UnmodifiableMetadataError",
        LocalPolicyRestriction: "LocalPolicyRestrictionError",
        InvalidRequest: "XDSInvalidRequestException",
    }
    encoded = transaction.encode_response(transaction.failure([kind("urn:uuid:1") for kind in kinds])).xml

    assert_valid(encoded, RS)
    decoded = transaction.decode_response(etree.fromstring(encoded), {})
    assert decoded.status is Status.FAILURE
    assert [error.code_for(Actor.REGISTRY) for error in decoded.errors] == list(kinds.values())


def test_each_transaction_has_its_actions():
    assert ITI57.action == "urn:ihe:iti:2010:UpdateDocumentSet"
    assert ITI57.response_action == "urn:ihe:iti:2010:UpdateDocumentSetResponse"
    assert ITI92.action == "urn:ihe:iti:2018:RestrictedUpdateDocumentSet"
    assert ITI92.response_action == "urn:ihe:iti:2018:RestrictedUpdateDocumentSetResponse"
