"""Access tokens (ITI-72): a `Caller` from a JWT as from an assertion, and none from what nobody signed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey

from shared.faults import SecurityFault
from shared.security.access_token import thumbprint
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller, Node
from shared.security.key_sets import Unread, keys_of
from shared.security.saml import read
from shared.security.scopes import NeededScope, ScopeInsufficient
from shared.settings import ServiceSettings, SettingsError
from shared.xml import parse
from tests.support.bad_tokens import BAD_TOKENS
from tests.support.certificates import HOME, assertion_for, bearer, communities
from tests.support.metadata import PATIENT
from tests.support.tokens import (
    DOMAIN,
    ISSUER,
    OTHER_ISSUER,
    SECRET_ISSUER,
    a_token,
    claims_of,
    key_of,
    key_set,
    part,
    token_of,
    trusted_issuers,
)

ENDPOINT = "http://127.0.0.1:8010/fhir/AuditEvent"
LOCAL = Node(address="127.0.0.1", fingerprint="ab" * 32)


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return trusted_issuers(tmp_path_factory.mktemp("issuers"))


@pytest.fixture(scope="module")
def authenticator(issuers: dict[str, str]) -> Authenticator:
    return authenticator_of(issuers)


def authenticator_of(issuers: dict[str, str], **changes) -> Authenticator:
    voices = {OTHER_ISSUER: {"communities": ["urn:oid:2.999.72"], "organizations": ["urn:oid:2.999.8"]}}
    given = {"token": {"issuers": issuers}, "assertion": {"speaks_for": voices}, "home_community_id": HOME}
    return Authenticator(ServiceSettings(**given | changes))


def caller(authenticator: Authenticator, token: str, **came) -> Caller:
    came = {"door": "ITI-18", "endpoint": ENDPOINT, "speaker_is_user": True} | came
    return asyncio.run(authenticator.caller(came.pop("node", LOCAL), bearer=token, **came))


def refusal(authenticator: Authenticator, token: str, **came) -> SecurityFault:
    with pytest.raises(SecurityFault) as refused:
        caller(authenticator, token, **came)
    return refused.value


def test_a_token_makes_the_user_that_an_assertion_makes(authenticator):
    iua = {"home_community_id": HOME}
    user = caller(authenticator, a_token(iua=iua)).user
    from_assertion = assertion_for(
        "dr.north", subject_id="Dr. North", home_community_id=HOME, organization="North Hospital"
    )
    other = read(parse(from_assertion)).user

    for name in ("name_id", "subject_id", "organization", "organization_ids", "home_community_id"):
        assert getattr(user, name) == getattr(other, name), name
    assert [str(role) for role in user.roles] == [str(role) for role in other.roles]
    assert [str(purpose) for purpose in user.purposes] == [str(purpose) for purpose in other.purposes]
    assert user.audit_name == f"{DOMAIN}<dr.north@{ISSUER}>"


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_what_nobody_may_take_is_refused(authenticator, name):
    fault = refusal(authenticator, BAD_TOKENS[name]())

    assert fault.of_a_known_node
    assert fault.reason == "The security token could not be accepted."


def test_every_case_differs_from_a_token_that_is_taken(authenticator):
    for kind in ("EC", "RSA"):
        assert caller(authenticator, token_of(claims_of(), key_of(ISSUER, kind))).user is not None
    secret = token_of(claims_of(iss=SECRET_ISSUER), key_of(SECRET_ISSUER, "oct"))
    assert caller(authenticator, secret).user is not None
    elsewhere = {"subject_organization_id": "urn:oid:2.999.8"}
    assert caller(authenticator, a_token(iss=OTHER_ISSUER, iua=elsewhere)).user is not None
    assert caller(authenticator, token_of(claims_of(), typ="IUA-JWT", kid=None)).user is not None


def test_a_refusal_tells_the_record_whom_the_token_claims(authenticator):
    assert refusal(authenticator, a_token(aud="urn:x")).claimed == f"<dr.north@{ISSUER}>"


@pytest.mark.parametrize(
    ("audience", "taken"),
    [
        (DOMAIN, True),
        (["urn:x", DOMAIN], True),
        ("https://pacs.example/a", True),
        ("https://pacs.example/a/", True),
        ("https://pacs.example/a/fhir", True),
        ("https://pacs.example/a/fhir/AuditEvent", True),
        ("https://pacs.example", False),
        ("https://pacs.example/a/dicomweb", False),
        ("https://pacs.example/a/fhir/AuditEvent/1", False),
        ("https://pacs.example/ab", False),
        ("http://pacs.example/a", False),
        ("", False),
    ],
)
def test_the_audience_is_the_configured_address_at_or_above_what_was_called(issuers, audience, taken):
    public = {"public_url": "http://127.0.0.1/a"}
    swap = str.replace
    one = [audience] if isinstance(audience, str) else audience
    token = a_token(aud=[swap(each, "https://pacs.example", "http://127.0.0.1") for each in one])
    if audience == "http://pacs.example/a":
        token = a_token(aud="https://127.0.0.1/a")
    found = None
    try:
        found = caller(
            authenticator_of(issuers, **public), token, endpoint="http://127.0.0.1/a/fhir/AuditEvent"
        )
    except SecurityFault:
        assert not taken
    assert (found is not None) is taken


def test_codings_are_read_in_every_way_in_which_they_are_written(authenticator):
    written = (
        {"code": "TREAT", "system": "2.16.840.1.113883.5.8"},
        {"code": "TREAT", "system": "urn:oid:2.16.840.1.113883.5.8"},
        [{"code": "TREAT", "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason"}],
    )

    read = {
        str(caller(authenticator, a_token(iua={"purpose_of_use": one})).user.purposes[0]) for one in written
    }

    assert read == {"TREAT^^2.16.840.1.113883.5.8"}


def test_the_patient_of_a_token_is_read_with_the_ampersand_of_xml_too(authenticator):
    for patient in (PATIENT, PATIENT.replace("&", "&amp;")):
        said = claims_of()["extensions"] | {"ihe_bppc": {"patient_id": patient}}
        assert caller(authenticator, a_token(extensions=said)).user.resource_ids == (PATIENT,)


def test_the_token_of_a_client_names_no_user(authenticator):
    token = a_token("viewer")

    assert caller(authenticator, token).user is None
    assert caller(authenticator, token, speaker_is_user=False).user is None


@pytest.mark.parametrize(
    ("number", "scope", "covered"),
    [
        ("RAD-107", "RAD-107", True),
        ("RAD-107", "openid RAD-107 x", True),
        ("RAD-107", "RAD-10", False),
        ("RAD-107", "user/ImagingStudy.rs", True),
        ("RAD-107", "user/ImagingStudy.s", False),
        ("RAD-107", "user/*.read", True),
        ("RAD-107", "system/*.*", True),
        ("RAD-107", "patient/ImagingStudy.rs", False),
        ("RAD-107", "user/ImagingStudy.rs?category=x", False),
        ("RAD-129", "user/ImagingStudy.rs", True),
        ("ITI-81", "user/AuditEvent.rs", True),
        ("ITI-81", "user/AuditEvent.r", False),
        ("", "user/*.cruds", False),
        ("", "xdsi", True),
        ("ITI-81", "", False),
    ],
)
def test_a_token_is_for_what_its_scopes_cover(authenticator, number, scope, covered):
    token = a_token(scope=scope)
    came = {"needed": NeededScope(number)}
    if covered:
        assert caller(authenticator, token, **came).user is not None
    else:
        assert isinstance(refusal(authenticator, token, **came), ScopeInsufficient)


def test_the_scope_of_a_patient_counts_for_a_token_that_names_one(authenticator):
    said = claims_of()["extensions"] | {"ihe_bppc": {"patient_id": PATIENT}}
    token = a_token(scope="patient/ImagingStudy.rs", extensions=said)

    assert caller(authenticator, token, needed=NeededScope("RAD-107")).user.resource_ids == (PATIENT,)


def test_a_bound_token_is_taken_from_the_node_that_it_is_bound_to_alone(authenticator):
    token = a_token(cnf={"x5t#S256": thumbprint("ab" * 32)})

    assert caller(authenticator, token).user is not None
    refusal(authenticator, token, node=Node(address="127.0.0.1", fingerprint="cd" * 32))
    refusal(authenticator, token, node=Node(address="127.0.0.1"))


def test_where_tokens_are_to_be_bound_others_are_refused(issuers):
    authenticator = authenticator_of({}, token={"issuers": issuers, "bound": True})

    refusal(authenticator, a_token())
    assert caller(authenticator, a_token(cnf={"x5t#S256": thumbprint("ab" * 32)})).user is not None


def test_without_a_believed_issuer_no_token_is_taken():
    refusal(authenticator_of({}), a_token())


def test_an_assertion_is_taken_beside_tokens(issuers):
    given = communities()[0].settings()["assertion"]
    authenticator = authenticator_of(issuers, assertion=given)

    assert caller(authenticator, bearer(assertion_for("dr.north"))).user.name_id == "dr.north"


# --- keys ---------------------------------------------------------------------------------------------


def test_keys_of_a_file_change_without_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    old, new = key_of(ISSUER), ECKey.generate_key("P-256", {"kid": "EC-2"})
    place = tmp_path / "keys.json"
    place.write_bytes(key_set(old))
    authenticator = authenticator_of({ISSUER: str(place)})
    caller(authenticator, a_token())

    place.write_bytes(key_set(new))

    assert caller(authenticator, token_of(claims_of(), new)).user is not None
    refusal(authenticator, a_token())


def test_weak_keys_and_keys_for_other_uses_are_none():
    modulus = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n
    weak = {"kty": "RSA", "n": part(modulus.to_bytes(128)), "e": "AQAB"}
    sealing = ECKey.generate_key("P-256", {"use": "enc"}).as_dict(private=False)

    for key in (weak, sealing, {"kty": "oct", "k": "AAAA"}, {"kty": "OKP"}, {}):
        with pytest.raises(Unread):
            keys_of(json.dumps({"keys": [key]}).encode(), secrets=True)
    with pytest.raises(Unread):
        keys_of(key_set(key_of(SECRET_ISSUER, "oct")), secrets=False)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"keys": []}', b'{"keys": [1]}', key_set(), b"\xff"]
)
def test_a_file_without_keys_is_told_at_the_start(tmp_path: Path, content: bytes):
    place = tmp_path / "keys.json"
    place.write_bytes(content)

    with pytest.raises(SettingsError, match=r"XDSI_TOKEN__ISSUERS: https://login\.example: .*JWK Set"):
        authenticator_of({ISSUER: str(place)})
