"""Validation against the published schemas of OASIS and IHE, where they are at hand."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
from lxml import etree

from shared.soap.mtom import MtomBody
from shared.xml import NS, Element

SCHEMAS = Path(__file__).parents[2] / "../shared/schemas"

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
    """Assert that `message` validates; the test is skipped where the schemas are absent.

    An `xop:Include` stands for base64 and is taken as such.
    """
    root = _element(message)
    for found in list(root.iter(_INCLUDE)):
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)
        parent.text = "AAAA"
    _schema(schema).assertValid(root)


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
def _schema(name: str) -> etree.XMLSchema:
    path = SCHEMAS / name
    if not path.exists():
        pytest.skip(f"the schema {name} is not at hand")
    return etree.XMLSchema(etree.parse(path, etree.XMLParser(no_network=True)))
