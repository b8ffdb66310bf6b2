"""Assertions as Switzerland, France and the United States write them, signed by a provider of ours: each is
read as what it says, and no looser than that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.faults import SecurityFault
from shared.security.caller import User
from shared.security.xua import AssertionVerifier
from shared.settings import AssertionSettings
from shared.xml import parse
from tests.support.assertions import signed_again
from tests.support.certificates import AUDIENCE, HOME, assertion_for, communities, provider

NORTH = communities()[0]
NOW = datetime.now(UTC)
PLAIN = assertion_for("2000000090092", roles=(), purposes=(), organization="", organization_ids=())
STATEMENT = b"</saml:AuthnStatement>"
TRUST = AssertionSettings(issuers={NORTH.issuer: NORTH.provider.certificate})
XSPA = "urn:oasis:names:tc:xspa:1.0:subject:"
ROLE, PURPOSE = "urn:oasis:names:tc:xacml:2.0:subject:role", f"{XSPA}purposeofuse"
PATIENT = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
OTHER_HOME = "urn:nhin:names:saml:homeCommunityId"


def coded(element: str, code: str, system: str, *, kind: str = 'xsi:type="CE" ', prefix: str = "") -> str:
    space = f"xmlns:{prefix[:-1]}" if prefix else "xmlns"
    return f'<{prefix}{element} {space}="urn:hl7-org:v3" {kind}code="{code}" codeSystem="{system}"/>'


def said(*attributes: tuple[str, str | list[str]], subject: bytes = b"", condition: bytes = b"") -> User:
    """The user of an assertion with these attributes; `subject` and `condition` go to their ends."""
    statement = "".join(
        f'<saml:Attribute Name="{name}">'
        + "".join(
            f"<saml:AttributeValue>{value}</saml:AttributeValue>"
            for value in ([values] if isinstance(values, str) else values)
        )
        + "</saml:Attribute>"
        for name, values in attributes
    )
    made = signed_again(
        PLAIN,
        STATEMENT,
        STATEMENT + f"<saml:AttributeStatement>{statement}</saml:AttributeStatement>".encode(),
        provider(NORTH),
    )
    if subject:
        method = b'Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"/>'
        inside = method.replace(b"/>", b">") + subject + b"</saml:SubjectConfirmation>"
        made = signed_again(made, method, inside, provider(NORTH))
    if condition:
        made = signed_again(made, b"</saml:Conditions>", condition + b"</saml:Conditions>", provider(NORTH))
    verifier = AssertionVerifier(TRUST, AUDIENCE, HOME)
    return verifier.verify(parse(made), NOW + timedelta(seconds=1)).user


# --- Switzerland --------------------------------------------------------------------------------------

SWISS_ROLES, SWISS_PURPOSES = "2.16.756.5.30.1.127.3.10.6", "2.16.756.5.30.1.127.3.10.5"
EPR_SPID = "761337610411353650^^^&amp;2.16.756.5.30.1.127.3.10.3&amp;ISO"
ASSISTANT = (
    b'<saml:NameID NameQualifier="urn:gs1:gln">2000000090108</saml:NameID><saml:SubjectConfirmationData>'
    b"<saml:AttributeStatement>"
    b'<saml:Attribute Name="urn:oasis:names:tc:xspa:1.0:subject:subject-id"><saml:AttributeValue>'
    b"Dagmar Musterassistent</saml:AttributeValue></saml:Attribute>"
    b"</saml:AttributeStatement></saml:SubjectConfirmationData>"
)
DELEGATION = (
    b'<saml:Condition xmlns:del="urn:oasis:names:tc:SAML:2.0:conditions:delegation" '
    b'xsi:type="del:DelegationRestrictionType"><del:Delegate><saml:NameID>2000000090108</saml:NameID>'
    b"</del:Delegate></saml:Condition>"
)
#: Role, purpose and organisations of each kind of user.
SWISS = {
    "healthcare professional": ("HCP", "NORM", ["urn:oid:2.999.7", "urn:oid:2.999.8", "urn:oid:2.999.9"]),
    "in an emergency": ("HCP", "EMER", ["urn:oid:2.999.7"]),
    "technical user": ("HCP", "AUTO", []),
    "patient": ("PAT", "NORM", []),
    "representative": ("REP", "NORM", []),
    "policy administrator": ("PADM", "NORM", []),
    "document administrator": ("DADM", "NORM", []),
}


@pytest.mark.parametrize(("role", "purpose", "organizations"), SWISS.values(), ids=SWISS.keys())
def test_swiss_users_are_read_by_their_kind(role, purpose, organizations):
    user = said(
        (f"{XSPA}subject-id", "Martina Musterarzt"),
        (f"{XSPA}organization-id", organizations),
        (f"{XSPA}organization", [f"Group {each}" for each in organizations]),
        (ROLE, coded("Role", role, SWISS_ROLES)),
        (PURPOSE, coded("PurposeOfUse", purpose, SWISS_PURPOSES)),
        (PATIENT, EPR_SPID),
        ("urn:ihe:iti:xca:2010:homeCommunityId", HOME),
    )

    assert [str(one) for one in user.roles] == [f"{role}^^{SWISS_ROLES}"]
    assert [str(one) for one in user.purposes] == [f"{purpose}^^{SWISS_PURPOSES}"]
    assert list(user.organization_ids) == organizations
    assert user.resource_ids == (EPR_SPID.replace("&amp;", "&"),)
    assert (user.name_id, user.home_community_id) == ("2000000090092", HOME)


def test_the_assistant_of_a_swiss_professional_does_not_become_the_user():
    user = said((f"{XSPA}subject-id", "Martina Musterarzt"), subject=ASSISTANT, condition=DELEGATION)

    assert (user.name_id, user.subject_id) == ("2000000090092", "Martina Musterarzt")


# --- France -------------------------------------------------------------------------------------------

INS = "279035121518989^^^&amp;1.2.250.1.213.1.4.10&amp;ISO"


def test_a_french_vihf_names_its_structure_its_roles_and_the_patient():
    user = said(
        ("VIHF_Version", "3.0"),
        ("Identifiant_Structure", "10B0152872"),
        ("Secteur_Activite", "SA01^1.2.250.1.71.4.2.4"),
        ("Mode_Acces_Raison", "Patient inconscient"),
        (f"{XSPA}subject-id", "MARTIN Anne, Radiologue"),
        (
            ROLE,
            [
                coded("Role", "10", "1.2.250.1.71.1.2.7"),
                coded("Role", "G15_10/SM44", "1.2.250.1.213.1.1.4.5"),
            ],
        ),
        (PURPOSE, coded("PurposeOfUse", "normal", "1.2.250.1.213.1.1.4.248")),
        (PATIENT, f"{INS}^NH"),
    )

    assert user.organization_ids == ("10B0152872",)
    assert [one.value for one in user.roles] == ["10", "G15_10/SM44"]
    assert user.resource_ids == (INS.replace("&amp;", "&"),)


def test_the_structure_of_a_vihf_is_not_added_to_organisations_that_are_named():
    user = said((f"{XSPA}organization-id", "urn:oid:2.999.7"), ("Identifiant_Structure", "10B0152872"))

    assert user.organization_ids == ("urn:oid:2.999.7",)


# --- United States ------------------------------------------------------------------------------------

NHIN = "2.16.840.1.113883.3.18.7.1"


@pytest.mark.parametrize("prefix", ["", "hl7:"], ids=["default namespace", "prefixed"])
def test_an_assertion_of_the_united_states_is_read_with_its_older_names(prefix):
    user = said(
        (OTHER_HOME, HOME),
        (
            PURPOSE,
            coded(
                "PurposeForUse",
                "TREATMENT",
                NHIN,
                kind='xsi:type="nhin:CE" xmlns:nhin="urn:n" ',
                prefix=prefix,
            ),
        ),
        (ROLE, coded("Role", "307969004", "2.16.840.1.113883.6.96", kind="", prefix=prefix)),
    )

    assert user.home_community_id == HOME
    assert [str(one) for one in user.purposes] == [f"TREATMENT^^{NHIN}"]
    assert [str(one) for one in user.roles] == ["307969004^^2.16.840.1.113883.6.96"]


def test_a_home_community_under_its_older_name_is_bound_to_its_issuer_too():
    with pytest.raises(SecurityFault):
        said((OTHER_HOME, "urn:oid:2.999.72"))


# --- plain text ---------------------------------------------------------------------------------------


def test_a_role_as_plain_text_is_one_of_its_issuer_alone():
    user = said((ROLE, ["physician", " radiologist "]), (PURPOSE, "treatment"))

    assert [str(one) for one in user.roles] == [
        f"physician^^{NORTH.issuer}",
        f"radiologist^^{NORTH.issuer}",
    ]
    assert [str(one) for one in user.purposes] == [f"treatment^^{NORTH.issuer}"]


@pytest.mark.parametrize("text", ["RAD-PHYS^^2.999.40.1", "a^b", "", "&#x200b;physician"])
def test_plain_text_claims_no_code_system(text):
    with pytest.raises(SecurityFault):
        said((ROLE, text))
