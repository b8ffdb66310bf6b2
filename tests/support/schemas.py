"""Validation against schemas: our own, and those published by OASIS, IHE and DICOM where they are at hand."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

from lxml import etree

from shared.soap.mtom import MtomBody
from shared.xml import NS, Element

SCHEMAS = Path(__file__).parents[2] / "../shared/schemas"
#: The schemas that our services show beside their WSDL; of a message of HL7 they say the root alone.
WSDL = Path(__file__).parents[2] / "shared" / "wsdl"
OWN_AUDIT = Path(__file__).parent / "xsd" / "audit_message.xsd"
OWN_FEED = Path(__file__).parent / "xsd" / "patient_feed.xsd"

QUERY = "v3/query.xsd"
LCM = "v3/lcm.xsd"
RS = "v3/rs.xsd"
DOCUMENTS = "v3/XDS.b_DocumentRepository.xsd"
IMAGING = "v3/XDSI.b_ImagingDocumentSource.xsd"
REMOVAL = "v3/rmd.xsd"
HL7_V3 = "wsdl/schema/HL7V3/NE2008/multicacheschemas"
AUDIT = "audit/dicom2017c.xsd"

_INCLUDE = f"{{{NS['xop']}}}Include"


def assert_valid(message: bytes | Element | MtomBody, schema: str) -> None:
    """Assert that `message` validates by our own schema, and by the published one where it is at hand.

    An `xop:Include` stands for base64 and is taken as such.
    """
    root = _element(message)
    for found in list(root.iter(_INCLUDE)):
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)
        parent.text = "AAAA"
    _own(schema).assertValid(root)
    if (SCHEMAS / schema).exists():
        _published(schema).assertValid(root)


def assert_valid_objects(*fragments: bytes) -> None:
    """Assert that fragments with the undeclared prefix `rim` are valid members of an answer's object list."""
    head = (
        f'<query:AdhocQueryResponse xmlns:query="{NS["query"]}" xmlns:rim="{NS["rim"]}"'
        ' status="urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"><rim:RegistryObjectList>'
    )
    tail = "</rim:RegistryObjectList></query:AdhocQueryResponse>"
    assert_valid(b"".join((head.encode(), *fragments, tail.encode())), QUERY)


def _element(message: bytes | Element | MtomBody) -> Element:
    if isinstance(message, MtomBody):
        message = message.xml
    return etree.fromstring(message) if isinstance(message, bytes) else copy.deepcopy(message)


@cache
def _published(name: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(SCHEMAS / name, etree.XMLParser(no_network=True)))


@cache
def _own(schema: str) -> etree.XMLSchema:
    if schema == AUDIT:
        return etree.XMLSchema(etree.parse(OWN_AUDIT))
    return etree.XMLSchema(etree.parse(OWN_FEED)) if schema.startswith(HL7_V3) else _own_of_the_services()


@cache
def _own_of_the_services() -> etree.XMLSchema:
    imports = (
        f'<xs:import namespace="{etree.parse(path).getroot().get("targetNamespace")}" '
        f'schemaLocation="{path.as_uri()}"/>'
        # What others are made of comes first: theirs have no location.
        for path in (
            WSDL / f"{name}.xsd" for name in ("rim", "rs", "query", "lcm", "xds", "rmd", "xdsi", "feed")
        )
    )
    head = '<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:all">'
    return etree.XMLSchema(etree.fromstring(f"{head}{''.join(imports)}</xs:schema>"))
