"""What an accepted assertion says, and what the memory of verified assertions holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.ebrim.model import Code
from shared.faults import SecurityFault
from shared.security import xua
from shared.security.issuer import AssertionContent, AssertionIssuer
from shared.security.xua import AssertionVerifier, load_issuers, verified
from shared.settings import AssertionSettings, SettingsError
from shared.xml import parse
from tests.support.assertions import edited, sealed, signed_again
from tests.support.certificates import (
    AUDIENCE,
    HOME,
    RADIOLOGIST,
    TREATMENT,
    assertion_for,
    certificate_of,
    communities,
    provider,
)

NORTH, SOUTH = communities()
IDP = provider(NORTH)
NOW = datetime.now(UTC).replace(microsecond=0)
ISSUED = NOW - timedelta(minutes=2)


def a_verifier(**changes) -> AssertionVerifier:
    given = {"issuers": {NORTH.issuer: NORTH.provider.certificate}} | changes
    return AssertionVerifier(AssertionSettings(**given), AUDIENCE, HOME)


def user_of(assertion: bytes, **changes):
    return a_verifier(**changes).verify(parse(assertion), NOW).user


def test_every_value_that_was_signed_is_read():
    user = user_of(
        assertion_for(
            "u-778",
            not_before=ISSUED,
            alias="who",
            subject_id="Dr. Ümit & <Partner>",
            organization_ids=("urn:oid:2.999.7", "urn:oid:2.999.8"),
            home_community_id=HOME,
            resource_ids=("P0001^^^&2.999.1&ISO",),
            roles=(RADIOLOGIST, Code("CHIEF", "2.999.40.1", "Chief")),
        )
    )

    assert user.audit_name == f"who<u-778@{NORTH.issuer}>"
    assert user.subject_id == "Dr. Ümit & <Partner>"
    assert user.organization == "North Hospital"
    assert user.organization_ids == ("urn:oid:2.999.7", "urn:oid:2.999.8")
    assert user.home_community_id == HOME
    assert user.resource_ids == ("P0001^^^&2.999.1&ISO",)
    assert [(role.value, role.scheme, role.display_name) for role in user.roles] == [
        ("RAD-PHYS", "2.999.40.1", "Radiologist"),
        ("CHIEF", "2.999.40.1", "Chief"),
    ]
    assert user.purposes == (TREATMENT,)


def test_an_assertion_without_attributes_is_a_user_without_roles():
    user = user_of(IDP.sign(AssertionContent(name_id="u-778", audience=AUDIENCE, not_before=ISSUED)))

    assert (user.name_id, user.roles, user.purposes, user.organization) == ("u-778", (), (), "")


def test_attributes_are_collected_across_statements():
    statement = (
        b"<saml:AttributeStatement>"
        b'<saml:Attribute Name="urn:oasis:names:tc:xacml:2.0:subject:role"><saml:AttributeValue>'
        b'<h:Role xmlns:h="urn:hl7-org:v3" xsi:type="other:CE" code="CHIEF" codeSystem="urn:oid:2.999.40.1"/>'
        b"</saml:AttributeValue></saml:Attribute>"
        b'<saml:Attribute Name="urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"><saml:AttributeValue>'
        b'<PurposeForUse xmlns="urn:hl7-org:v3" code="ETREAT" codeSystem="2.16.840.1.113883.5.8"/>'
        b"</saml:AttributeValue></saml:Attribute>"
        b'<saml:Attribute Name="urn:oasis:names:tc:xspa:1.0:subject:subject-id"><saml:AttributeValue/>'
        b"</saml:Attribute></saml:AttributeStatement></saml:Assertion>"
    )
    genuine = assertion_for("u-778", not_before=ISSUED)

    user = user_of(signed_again(genuine, b"</saml:Assertion>", statement, IDP))

    assert user.roles == (RADIOLOGIST, Code("CHIEF", "2.999.40.1"))
    assert user.purposes == (TREATMENT, Code("ETREAT", "2.16.840.1.113883.5.8"))
    assert user.subject_id == ""


def test_one_bearer_confirmation_among_others_is_enough():
    genuine = assertion_for("u-778", not_before=ISSUED)
    both = b'<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:holder-of-key"/></saml:Subject>'

    assert user_of(signed_again(genuine, b"</saml:Subject>", both, IDP)).name_id == "u-778"


def test_one_audience_among_alternatives_is_enough():
    genuine = assertion_for("u-778", not_before=ISSUED)
    other = b"<saml:Audience>urn:oid:2.999.66</saml:Audience></saml:AudienceRestriction>"

    assert user_of(signed_again(genuine, b"</saml:AudienceRestriction>", other, IDP)).name_id == "u-778"


def test_an_assertion_for_this_endpoint_alone_is_accepted_here():
    endpoint = "https://registry.example/xds/registry"
    assertion = parse(assertion_for("u-778", not_before=ISSUED, audience=endpoint, recipient=endpoint))

    assert a_verifier().verify(assertion, NOW, endpoint=endpoint).user.name_id == "u-778"


@pytest.mark.parametrize("seconds", [-60, 0, 300, 359])
def test_clocks_may_differ_by_a_minute(seconds):
    assertion = parse(assertion_for("u-778", not_before=NOW))

    assert a_verifier().verify(assertion, NOW + timedelta(seconds=seconds)).user.name_id == "u-778"


@pytest.mark.parametrize("seconds", [-61, 360])
def test_clocks_may_not_differ_by_more(seconds):
    assertion = parse(assertion_for("u-778", not_before=NOW))

    with pytest.raises(SecurityFault):
        a_verifier().verify(assertion, NOW + timedelta(seconds=seconds))


def test_a_comment_between_elements_is_no_harm():
    genuine = assertion_for("u-778", not_before=ISSUED)

    assert user_of(edited(genuine, b"<saml:Subject>", b"<!-- here --><saml:Subject>")).name_id == "u-778"


def test_a_default_namespace_that_is_undeclared_is_no_harm():
    genuine = assertion_for("u-778", not_before=ISSUED)

    assert user_of(edited(genuine, b"<saml:Subject>", b'<saml:Subject xmlns="">')).name_id == "u-778"


@pytest.mark.parametrize("place", [b"ds:Transform", b"ds:CanonicalizationMethod"])
def test_inclusive_namespace_prefixes_of_other_toolkits_are_accepted(place):
    exclusive = b'Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"'
    with_prefixes = (
        b"<"
        + place
        + b" "
        + exclusive
        + b'><ec:InclusiveNamespaces xmlns:ec="http://www.w3.org/2001/10/xml-exc-c14n#"'
        b' PrefixList="xs"/></' + place + b">"
    )
    genuine = assertion_for("u-778", not_before=ISSUED)

    signed = sealed(genuine, b"<" + place + b" " + exclusive + b"/>", with_prefixes, IDP.key)

    assert b"PrefixList" in signed
    assert user_of(signed).name_id == "u-778"


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 2048),
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["RSA-2048", "P-256", "P-384"],
)
def test_what_each_kind_of_key_signs_is_verified(key):
    certificate = certificate_of(key)
    octets = AssertionIssuer("urn:idp", key, certificate).sign(
        AssertionContent(name_id="u-1", audience=AUDIENCE)
    )

    found, by = verified(octets, {"urn:idp": (IDP.certificate, certificate)}, NOW)

    assert found.user.name_id == "u-1"
    assert by == certificate


def test_the_second_configured_certificate_of_an_issuer_is_tried(tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(SOUTH.provider.certificate.read_bytes() + NORTH.provider.certificate.read_bytes())

    assert user_of(assertion_for("u-778", not_before=ISSUED), issuers={NORTH.issuer: both}).name_id == "u-778"


# --- memory -------------------------------------------------------------------------------------------


def test_a_second_use_is_answered_from_memory(monkeypatch):
    verifier, assertion = a_verifier(), parse(assertion_for("u-778", not_before=ISSUED))
    first = verifier.verify(assertion, NOW)
    monkeypatch.setattr(xua, "verified", lambda *_: pytest.fail("verified a second time"))

    assert verifier.verify(assertion, NOW) is first


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(xua, "CACHED_ASSERTIONS", 3)
    verifier = a_verifier()
    for number in range(8):
        verifier.verify(parse(assertion_for(f"u-{number}", not_before=ISSUED)), NOW)

    assert len(verifier._remembered) == 3


def test_what_is_refused_is_not_remembered():
    verifier = a_verifier()
    for number in range(3):
        with pytest.raises(SecurityFault):
            verifier.verify(parse(assertion_for(f"u-{number}", not_before=NOW - timedelta(days=1))), NOW)

    assert not verifier._remembered


# --- keys ---------------------------------------------------------------------------------------------


def test_mistakes_about_issuers_are_told_all_at_once(tmp_path):
    empty, weak = tmp_path / "empty.pem", tmp_path / "weak.pem"
    empty.write_text("nothing")
    weak.write_bytes(certificate_of(rsa.generate_private_key(65537, 1024), pem=True))

    with pytest.raises(SettingsError) as refused:
        load_issuers({"urn:a": tmp_path / "absent.pem", "urn:b": empty, "urn:c": weak})

    assert [problem.split(": ")[1] for problem in refused.value.problems] == ["urn:a", "urn:b", "urn:c"]


def test_a_certificate_that_may_not_sign_is_no_issuer():
    with pytest.raises(SettingsError, match="KeyUsage"):
        load_issuers({"urn:a": NORTH.authority.certificate})


def test_a_provider_whose_key_is_not_its_own_does_not_load():
    with pytest.raises(SettingsError, match="XDSI_ASSERTION__KEY"):
        AssertionIssuer.load("urn:a", NORTH.provider.key, SOUTH.provider.certificate)


# --- whatever comes -----------------------------------------------------------------------------------

GENUINE = assertion_for("u-778", not_before=ISSUED)
MEMORY = a_verifier()


@given(
    st.integers(0, len(GENUINE) - 1),
    st.integers(0, 12),
    st.one_of(st.binary(max_size=12), st.sampled_from([b"<!---->", b"<x/>", b'xmlns=""', b"&#0;", b"]]>"])),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_a_damaged_assertion_is_refused_or_says_what_was_signed(at, length, put):
    damaged = GENUINE[:at] + put + GENUINE[at + length :]
    try:
        found, _ = verified(damaged, MEMORY._issuers, NOW)
    except SecurityFault:
        return
    assert found == verified(GENUINE, MEMORY._issuers, NOW)[0]


def test_the_certificate_of_an_issuer_is_taken_out_and_put_in_while_a_service_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(xua, "LOOK_SECONDS", 0.0)
    file = tmp_path / "issuer.pem"
    file.write_bytes(NORTH.provider.certificate.read_bytes())
    verifier = a_verifier(issuers={NORTH.issuer: file})
    assertion = parse(assertion_for("dr.north", not_before=ISSUED))
    assert verifier.verify(assertion, NOW).user.name_id == "dr.north"

    file.write_bytes(SOUTH.provider.certificate.read_bytes())
    # It was remembered, and is not believed any more.
    with pytest.raises(SecurityFault):
        verifier.verify(assertion, NOW)
    file.write_text("nonsense")
    with pytest.raises(SecurityFault):
        verifier.verify(assertion, NOW)
    file.write_bytes(NORTH.provider.certificate.read_bytes())
    assert verifier.verify(assertion, NOW).user.name_id == "dr.north"
