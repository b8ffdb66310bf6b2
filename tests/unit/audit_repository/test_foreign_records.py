"""Records of other vendors are read, in the forms that they have had since RFC 3881; what cannot be read says
why and is kept."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from audit_repository.domain.record import RecordState, record_of
from shared.security.caller import Node
from tests.support.audit import SOURCES

NODE = Node(address="192.0.2.80", subject="CN=pacs.east.example")
NOW = datetime(2030, 5, 4, 9, 15, tzinfo=UTC)

#: How systems of the years of RFC 3881 write a query: codes in other attributes, source types as text.
RFC3881 = """<AuditMessage xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:noNamespaceSchemaLocation="healthcare-security-audit.xsd">
  <EventIdentification EventActionCode="E" EventDateTime="2030-05-04T11:15:02+02:00"
    EventOutcomeIndicator="0">
    <EventID code="110112" codeSystemName="DCM" displayName="Query"/>
    <EventTypeCode code="ITI-18" codeSystemName="IHE Transactions" displayName="Registry Stored Query"/>
  </EventIdentification>
  <ActiveParticipant UserID="EAST|PACS" UserIsRequestor="true" NetworkAccessPointID="10.1.2.3"
    NetworkAccessPointTypeCode="2">
    <RoleIDCode code="110153" codeSystemName="DCM" displayName="Source"/>
  </ActiveParticipant>
  <AuditSourceIdentification AuditSourceID="Müller-PACS" AuditEnterpriseSiteID="East">
    <AuditSourceTypeCode code="4"/>
  </AuditSourceIdentification>
  <ParticipantObjectIdentification ParticipantObjectID="P77^^^&amp;2.999.1&amp;ISO"
    ParticipantObjectTypeCode="1"
    ParticipantObjectTypeCodeRole="1">
    <ParticipantObjectIDTypeCode code="2"/>
    <ParticipantObjectName>Roe^Rick</ParticipantObjectName>
  </ParticipantObjectIdentification>
</AuditMessage>"""
XML = RFC3881.encode()
LATIN = b'<?xml version="1.0" encoding="ISO-8859-1"?>\n' + RFC3881.encode("latin-1")
HEADER = b"<85>1 2030-05-04T09:15:02.300Z pacs.east.example PACS 4711 "

FORMS = {
    "of RFC 5424 with the MSGID of IHE": HEADER + b"IHE+RFC-3881 - " + XML,
    "with the MSGID of DICOM": HEADER + b"DICOM+RFC3881 - " + XML,
    "with a BOM and an XML declaration": HEADER
    + b'IHE+RFC-3881 - \xef\xbb\xbf<?xml version="1.0" encoding="UTF-8"?>'
    + XML,
    "with structured data": HEADER + b'X [meta sequenceId="1"] ' + XML,
    "of RFC 3164": b"<85>May  4 09:15:02 pacs.east.example PACS[4711]: " + XML,
    "of RFC 3164 without a tag": b"<85>May  4 09:15:02 10.1.2.3 " + XML,
    "with a small t and z": b"<85>1 2030-05-04t09:15:02z pacs PACS 4711 IHE+RFC-3881 - " + XML,
    "with nine digits of a second": b"<85>1 2030-05-04T09:15:02.123456789Z pacs PACS 1 IHE+RFC-3881 - " + XML,
    "with a blank in its name": b"<85>1 2030-05-04T09:15:02Z pacs East PACS 4711 IHE+RFC-3881 - " + XML,
    "without structured data": HEADER + b"IHE+RFC-3881 " + XML,
    "of a priority alone": b"<85>" + XML,
    "without any header": XML,
    "in ISO 8859-1": HEADER + b"IHE+RFC-3881 - " + LATIN,
    "in Windows-1252": HEADER + b"IHE+RFC-3881 - " + LATIN.replace(b"ISO-8859-1", b"windows-1252"),
    "with the end of a line behind it": HEADER + b"IHE+RFC-3881 - " + XML + b"\r\n",
    "with the end of a text behind it": HEADER + b"IHE+RFC-3881 - " + XML + b"\n\0",
    "with an empty line before it": HEADER + b'IHE+RFC-3881 - \n<?xml version="1.0"?>' + XML,
    "in a namespace": HEADER
    + b"IHE+RFC-3881 - "
    + XML.replace(b"<AuditMessage ", b'<a:AuditMessage xmlns:a="urn:x" ').replace(
        b"</AuditMessage>", b"</a:AuditMessage>"
    ),
}


def read(octets):
    return record_of(octets, node=NODE, received=NOW, sources=SOURCES)


@pytest.mark.parametrize("form", FORMS)
def test_a_record_of_another_vendor_is_read(form):
    record = read(FORMS[form])

    assert (record.state, record.reason) == (RecordState.PARSED, "")
    assert record.raw == FORMS[form]
    assert record.source == "Müller-PACS"
    assert {("patient", "P77^^^&2.999.1&ISO"), ("type", "ITI-18"), ("user", "EAST|PACS")} <= set(record.terms)
    assert record.event_time == "2030-05-04T09:15:02.000000Z"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (HEADER + b"IHE+RFC-3881 - " + XML[:700], "well-formed"),
        (b"<85>May  4 09:15:02 host su: no audit message", "RFC 5424"),
        (HEADER + b"X - " + XML.replace(b'EventOutcomeIndicator="0"', b""), "EventOutcomeIndicator"),
        (b"x" * 5_000 + XML, "RFC 5424"),
        (b'{"resourceType": "Patient"}', "AuditEvent"),
    ],
)
def test_what_cannot_be_read_says_why_and_is_kept(octets, reason):
    record = read(octets)

    assert record.state is RecordState.UNPARSED
    assert reason in record.reason
    assert "Roe" not in record.reason
    assert record.raw == octets
