"""RegistryResponse and its errors: what is written is valid, what is read keeps codes and severities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from shared import errors
from shared.errors import (
    Actor,
    ExtraMetadataNotSaved,
    MetadataError,
    RelayedError,
    Severity,
    UnknownPatientId,
    XdsError,
)
from shared.faults import SenderFault
from shared.messages.registry import (
    RS,
    RegistryResponse,
    Status,
    decode_registry_response,
    encode_error_list,
    encode_registry_response,
    failure,
)
from tests.support.schemas import RS as RS_SCHEMA
from tests.support.schemas import assert_valid

WARNING = ExtraMetadataNotSaved("dropped", location="doc1")
ERROR = MetadataError("classCode is missing", location="doc1/classCode")


def of_classes(kind: type[XdsError]) -> list[type[XdsError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in of_classes(child))]


@pytest.mark.parametrize("actor", Actor)
@pytest.mark.parametrize(
    "response",
    [
        RegistryResponse(status=Status.SUCCESS),
        RegistryResponse(status=Status.SUCCESS, errors=(WARNING,)),
        failure([ERROR, WARNING]),
        RegistryResponse(status=Status.PARTIAL_SUCCESS, errors=(ERROR,)),
    ],
)
def test_every_response_validates_and_is_read_again(response, actor):
    octets = encode_registry_response(response, actor)

    assert_valid(octets, RS_SCHEMA)
    decoded = decode_registry_response(etree.fromstring(octets))
    assert decoded.status is response.status
    assert [(e.code_for(actor), e.context, e.severity, e.location) for e in decoded.errors] == [
        (e.code_for(actor), e.context, e.severity, e.location) for e in response.errors
    ]


def test_an_actor_writes_its_own_form_of_a_code():
    registry, repository = (encode_error_list([ERROR], actor) for actor in Actor)

    assert b'errorCode="XDSRegistryMetadataError"' in registry
    assert b'errorCode="XDSRepositoryMetadataError"' in repository


@pytest.mark.parametrize("kind", [UnknownPatientId, MetadataError, ExtraMetadataNotSaved])
def test_a_relayed_error_keeps_its_code_whoever_relays_it(kind):
    first = encode_registry_response(failure([kind("a", location="b")]), Actor.REGISTRY)

    relayed = decode_registry_response(etree.fromstring(first))

    assert encode_registry_response(relayed, Actor.REPOSITORY) == first


def test_no_error_list_is_written_without_errors():
    assert b"RegistryErrorList" not in encode_registry_response(
        RegistryResponse(status=Status.SUCCESS), Actor.REGISTRY
    )


@pytest.mark.parametrize(
    ("listed", "highest"), [([WARNING], Severity.WARNING), ([WARNING, ERROR, WARNING], Severity.ERROR)]
)
def test_the_list_tells_its_highest_severity(listed, highest):
    octets = encode_registry_response(failure(listed), Actor.REGISTRY)

    assert etree.fromstring(octets)[0].get("highestSeverity") == highest


@given(st.text(), st.text())
def test_an_error_can_always_be_written(context, location):
    octets = encode_registry_response(failure([MetadataError(context, location=location)]), Actor.REGISTRY)

    assert len(etree.fromstring(octets)[0]) == 1


def test_what_xml_cannot_carry_is_shown_as_a_replacement():
    octets = encode_registry_response(failure([MetadataError("a\x00b\ud800\tc")]), Actor.REGISTRY)

    assert etree.fromstring(octets)[0][0].get("codeContext") == "a\ufffdb\ufffd\tc"


def _sent(status: str, severity: str = "") -> etree._Element:
    listed = ""
    if severity:
        listed = (
            f'<e:RegistryErrorList><e:RegistryError errorCode="X" codeContext="c" severity="{severity}"/>'
            "</e:RegistryErrorList>"
        )
    return etree.fromstring(
        f'<e:RegistryResponse xmlns:e="{RS}" status="{status}">{listed}</e:RegistryResponse>'
    )


@pytest.mark.parametrize(
    ("status", "severity", "read"),
    [
        (f" {Status.SUCCESS} ", "", Status.SUCCESS),
        (Status.SUCCESS, Severity.WARNING, Status.SUCCESS),
        (Status.PARTIAL_SUCCESS, Severity.ERROR, Status.PARTIAL_SUCCESS),
        # A status that we do not know, and a success that tells of an error, are no success.
        ("Success", "", Status.FAILURE),
        ("urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:PartialSuccess", "", Status.FAILURE),
        (Status.SUCCESS, Severity.ERROR, Status.FAILURE),
        (Status.SUCCESS, "anything", Status.FAILURE),
    ],
)
def test_the_status_is_read_with_care(status, severity, read):
    assert decode_registry_response(_sent(status, severity)).status is read


def test_an_absent_status_is_named():
    with pytest.raises(SenderFault, match="status"):
        decode_registry_response(etree.fromstring(f'<RegistryResponse xmlns="{RS}"/>'))


def test_sparse_errors_are_read():
    sparse = etree.fromstring(
        f'<RegistryResponse xmlns="{RS}" status="{Status.FAILURE}"><RegistryErrorList><RegistryError/>'
        "</RegistryErrorList></RegistryResponse>"
    )

    (error,) = decode_registry_response(sparse).errors

    assert isinstance(error, RelayedError)
    assert (error.code_for(Actor.REGISTRY), error.context, error.severity) == ("", "", Severity.ERROR)


# The codes of the standard that do not begin with XDS.
OTHER_CODES = {
    "UnresolvedReferenceException",
    "ReferencesExistException",
    "UnmodifiableMetadataError",
    "LocalPolicyRestrictionError",
}


def test_every_code_of_the_tree_is_one_of_the_standard():
    """ITI TF-3 table 4.2.4.1-2 has them under these names, and the supplements on metadata."""
    codes = {
        kind.code.format(actor=actor)
        for kind in of_classes(errors.XdsError)
        if kind is not RelayedError
        for actor in Actor
    }

    assert all(code.startswith("XDS") or code in OTHER_CODES for code in codes)
    assert not any("{" in code for code in codes)
