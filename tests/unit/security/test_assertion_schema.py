"""Our assertions against our own schema of them, and against those of SAML 2.0, which lie beside the project
where it is developed."""

from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree
from signxml.processor import get_schema

from tests.support.certificates import assertion_for

SCHEMAS = (Path(__file__).parents[3] / "../shared/schemas").resolve()
SAML = SCHEMAS / "xacml/sstc-saml-schema-assertion-2.0.xsd"
# Roles and purposes are typed: xsi:type="CE" is HL7's.
HL7 = SCHEMAS / "wsdl/schema/HL7V3/NE2008/coreschemas/datatypes.xsd"
OWN = Path(__file__).parents[2] / "support" / "xsd" / "assertion.xsd"
BOTH = f"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:hl7-org:v3">
  <xs:import namespace="urn:oasis:names:tc:SAML:2.0:assertion" schemaLocation="{SAML.as_uri()}"/>
  <xs:include schemaLocation="{HL7.as_uri()}"/>
</xs:schema>"""


@pytest.fixture(params=["our own", "published"])
def schema(request, tmp_path):
    if request.param == "our own":
        return etree.XMLSchema(etree.parse(OWN))
    if not (SAML.is_file() and HL7.is_file()):
        pytest.skip("the schemas of SAML and HL7 are not beside the project; our own was tested")
    both = tmp_path / "both.xsd"
    both.write_text(BOTH)
    return etree.XMLSchema(etree.parse(both))


def test_an_assertion_is_valid_by_the_schema_of_saml(schema):
    full = assertion_for(
        "u-778",
        alias="who",
        subject_id="Dr. Who",
        home_community_id="urn:oid:2.999.1",
        resource_ids=("P0001^^^&2.999.1&ISO",),
        recipient="https://registry.example/xds",
        one_time_use=True,
    )

    for octets in (full, assertion_for("u-778")):
        schema.assertValid(etree.fromstring(octets))


def test_its_signature_is_valid_by_the_schema_of_signatures():
    signature = etree.fromstring(assertion_for("u-778")).find("{http://www.w3.org/2000/09/xmldsig#}Signature")

    get_schema("xmldsig1-schema.xsd").assertValid(etree.fromstring(etree.tostring(signature)))
