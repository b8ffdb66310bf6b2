"""What can be wrong with captures, by transaction, and the examples of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from conformance.corpus import metadata
from conformance.corpus.captures import ON_DEMAND, good_captures, slots_of_find
from conformance.corpus.data_sets import Raw, part10
from conformance.corpus.example import Example, mutated
from conformance.corpus.mado import described
from conformance.corpus.manifests import manifest, without
from conformance.corpus.messages import (
    APPROVED,
    ERROR,
    FAILURE,
    FIND_DOCUMENTS,
    GET_DOCUMENTS,
    HOME,
    KIND,
    MESSAGE_ID,
    MULTI_PATIENT,
    PARTIAL,
    PRIOR,
    RS,
    SOAP,
    SUCCESS,
    WARNING,
    WSA,
    XDS,
    XDSI,
    acknowledgement,
    digest_of,
    document_request,
    encode,
    envelope,
    error,
    exchange,
    fault,
    feed,
    instance,
    package,
    provide,
    registry_response,
    retrieved,
    simple,
    transaction,
    xop_include,
)
from conformance.corpus.metadata import ENTRY, Change, all_of, slot, swap
from conformance.transactions import answer_of

_ACTION: Final = "urn:ihe:iti:2007:RegistryStoredQuery"
_STATUS: Final = f'status="{SUCCESS}"'
_OBJECTS: Final = "<rim:RegistryObjectList>"
_AN_ERROR: Final = f'<rs:RegistryErrorList xmlns:rs="{RS}">{error("XDSRegistryError")}</rs:RegistryErrorList>'


def _with_error(code: str = "XDSRegistryError", **changes: str) -> Change:
    """An error beside Success in the answer of a query."""
    text = error(code)
    for old, new in changes.items():
        text = text.replace(
            *{"context": (' codeContext="why"', new), "severity": (ERROR, new), "close": ("/>", new)}[old]
        )
    listed = f'<rs:RegistryErrorList xmlns:rs="{RS}">{text}</rs:RegistryErrorList>{_OBJECTS}'
    return all_of(swap(_STATUS, f'status="{PARTIAL}"'), swap(_OBJECTS, listed))


_ENTRY_OF_ANSWER: Final = metadata.entry().encode().decode("latin_1")
_ITI18: Final[dict[str, tuple[str, Change]]] = {
    "a PUT": ("SOAP-001", swap("POST", "PUT")),
    "text/xml": ("SOAP-002", swap("application/soap+xml", "text/xml")),
    "Latin-1": ("SOAP-003", swap("charset=UTF-8", "charset=ISO-8859-1")),
    "another action in Content-Type": (
        "SOAP-004",
        swap("charset=UTF-8", 'charset=UTF-8; action="urn:other"'),
    ),
    "a parameter that is not quoted": ("SOAP-022", swap("charset=UTF-8", f"charset=UTF-8; action={_ACTION}")),
    "no well-formed XML": ("SOAP-030", swap("</s:Body>", "</s:Bod>")),
    "a document type": ("SOAP-030", swap("<s:Envelope", "<!DOCTYPE x><s:Envelope")),
    "SOAP 1.1": ("SOAP-031", swap(SOAP, "http://schemas.xmlsoap.org/soap/envelope/")),
    "no Header": ("SOAP-032", swap("<s:Body>", "<s:Body/><s:Body>")),
    "two elements in the Body": ("SOAP-032", swap("</s:Body>", "<x/></s:Body>")),
    "no Action": ("SOAP-033", swap(f'<a:Action s:mustUnderstand="1">{_ACTION}</a:Action>', "")),
    "WS-Addressing of 2004": ("SOAP-033", swap(WSA, "http://schemas.xmlsoap.org/ws/2004/08/addressing")),
    "an Action without mustUnderstand": ("SOAP-034", swap(' s:mustUnderstand="1"', "")),
    "no MessageID": ("SOAP-035", swap(f"<a:MessageID>{MESSAGE_ID}</a:MessageID>", "")),
    "a MessageID that is no IRI": ("SOAP-035", swap(MESSAGE_ID, "12345")),
    "no ReplyTo": (
        "SOAP-036",
        swap(f"<a:ReplyTo><a:Address>{WSA}/anonymous</a:Address></a:ReplyTo>", ""),
    ),
    "no To": ("SOAP-037", swap("<a:To>https://peer.example.org/xds</a:To>", "")),
    "no RelatesTo": ("SOAP-038", swap(f"<a:RelatesTo>{MESSAGE_ID}</a:RelatesTo>", "")),
    "RelatesTo of another message": (
        "SOAP-039",
        swap(f"<a:RelatesTo>{MESSAGE_ID}", f"<a:RelatesTo>{MESSAGE_ID[:-1]}9"),
    ),
    "white space in the Action": ("SOAP-040", swap(f">{_ACTION}<", f"> {_ACTION} <")),
    "an unknown Action": ("SOAP-041", swap(f">{_ACTION}<", ">urn:ihe:iti:2007:StoredQuery<")),
    "the body of another transaction": (
        "SOAP-042",
        all_of(swap("q:AdhocQueryRequest", "q:AdhocQueryResponse", 2)),
    ),
    "the answer of another transaction": (
        "SOAP-044",
        swap("RegistryStoredQueryResponse", "CrossGatewayQueryResponse"),
    ),
    "an answer with 500": ("SOAP-050", swap("HTTP/1.1 200 OK", "HTTP/1.1 500 Error")),
    "an unknown status": ("XDS-RESP-001", swap(_STATUS, 'status="Success"')),
    "PartialSuccess of OASIS": (
        "XDS-RESP-001",
        swap(_STATUS, f'status="{SUCCESS.replace("Success", "PartialSuccess")}"'),
    ),
    "an empty list of errors": (
        "XDS-RESP-003",
        swap(_OBJECTS, f'<rs:RegistryErrorList xmlns:rs="{RS}"/>{_OBJECTS}'),
    ),
    "an error without code": ("XDS-RESP-004", _with_error("")),
    "an error without context": ("XDS-RESP-005", _with_error(context="")),
    "a severity that is no URN": ("XDS-RESP-006", _with_error(severity="Error")),
    "Success with an error": (
        "XDS-RESP-007",
        swap(
            _OBJECTS,
            _AN_ERROR + _OBJECTS,
        ),
    ),
    "Failure without an error": (
        "XDS-RESP-008",
        all_of(swap(_STATUS, f'status="{FAILURE}"'), swap(_ENTRY_OF_ANSWER, "")),
    ),
    "an unknown code": ("XDS-RESP-009", _with_error("XDSSomethingWrong")),
    "content within an error": ("XDS-RESP-010", _with_error(close=">why</rs:RegistryError>")),
    "a highestSeverity that is not": (
        "XDS-RESP-011",
        all_of(
            _with_error(),
            swap("<rs:RegistryErrorList", f'<rs:RegistryErrorList highestSeverity="{WARNING}"'),
        ),
    ),
    "a partial success without error": ("XDS-RESP-013", swap(_STATUS, f'status="{PARTIAL}"')),
    "a code of another transaction": ("XDS-RESP-014", _with_error("XDSDocumentUniqueIdError")),
    "no RegistryObjectList": (
        "XDS-RESP-015",
        swap(f"{_OBJECTS}{_ENTRY_OF_ANSWER}</rim:RegistryObjectList>", ""),
    ),
    "Failure with results": ("XDS-RESP-016", all_of(_with_error(), swap(PARTIAL, FAILURE))),
    "errors behind objects": (
        "XDS-RESP-017",
        all_of(
            swap(_STATUS, f'status="{PARTIAL}"'),
            swap(
                "</rim:RegistryObjectList>",
                f"</rim:RegistryObjectList>{_AN_ERROR}",
            ),
        ),
    ),
    "an entry without status": (
        "XDS-META-062",
        swap(' status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"', ""),
    ),
    "a status of another kind": (
        "XDS-META-062",
        swap(
            ' status="urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"',
            ' status="urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Approved"',
        ),
    ),
    "a Classification without objectType": (
        "XDS-META-021",
        swap(' objectType="urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:Classification"', ""),
    ),
    "a SubmissionSet that is Deprecated": (
        "XDS-META-088",
        swap(
            _OBJECTS,
            _OBJECTS + metadata.submission_set().replace("StatusType:Approved", "StatusType:Deprecated"),
        ),
    ),
    "a Folder without lastUpdateTime": (
        "XDS-META-094",
        swap(_OBJECTS, _OBJECTS + metadata.folder().replace(slot("lastUpdateTime", "20260301091502"), "")),
    ),
    "an Association to a symbolic id": (
        "XDS-META-106",
        swap(_OBJECTS, _OBJECTS + metadata.member(1, metadata.SET, "Document01", "Original")),
    ),
    "a symbolic id in an answer": ("XDS-META-003", swap(ENTRY, "Document01", 99)),
    "a returnType of the schema": ("XDS-QUERY-001", swap('"LeafClass"', '"RegistryObject"')),
    "objects that are not composed": ("XDS-QUERY-002", swap(' returnComposedObjects="true"', "")),
    "an unknown query": ("XDS-QUERY-003", swap(FIND_DOCUMENTS, FIND_DOCUMENTS[:-1] + "e")),
    "no patient": ("XDS-QUERY-004", swap(slots_of_find()[0], "")),
    "no status": ("XDS-QUERY-004", swap(slots_of_find()[1], "")),
    "a parameter of another query": (
        "XDS-QUERY-005",
        swap("$XDSDocumentEntryFormatCode", "$XDSFolderCodeList"),
    ),
    "two patients": (
        "XDS-QUERY-006",
        swap(
            f"'{metadata.PATIENT}'</rim:Value>",
            f"'{metadata.PATIENT}'</rim:Value><rim:Value>'{metadata.OTHER_PATIENT}'</rim:Value>",
        ),
    ),
    "a patient without quotes": ("XDS-QUERY-008", swap(f"'{metadata.PATIENT}'", metadata.PATIENT)),
    "a list without parentheses": ("XDS-QUERY-008", swap(APPROVED, APPROVED.strip("()"))),
    "a code without scheme": ("XDS-QUERY-009", swap("88.59^^1.2.840.10008.2.6.1", "88.59")),
    "a time with dashes": ("XDS-QUERY-010", swap(">20260101<", ">2026-01-01<")),
    "a status of the response": (
        "XDS-QUERY-011",
        swap("StatusType:Approved')", "ResponseStatusType:Approved')"),
    ),
    "an unknown type of entries": (
        "XDS-QUERY-012",
        swap("</rim:AdhocQuery>", slot("$XDSDocumentEntryType", "('Stable')") + "</rim:AdhocQuery>"),
    ),
    "a parameter twice": ("XDS-QUERY-013", swap(slots_of_find()[2], slots_of_find()[2] * 2)),
    "a patient that is no CX": ("XDS-QUERY-014", swap(f"'{metadata.PATIENT}'", "'P-1'")),
    "a query of ITI-51": ("XDS-QUERY-015", swap(FIND_DOCUMENTS, MULTI_PATIENT)),
    "a home that is an OID": ("XDS-QUERY-016", swap("<rim:AdhocQuery ", '<rim:AdhocQuery home="1.2.3" ')),
    "the home as a parameter": (
        "XDS-QUERY-018",
        swap("</rim:AdhocQuery>", slot("$homeCommunityId", f"'{HOME}'") + "</rim:AdhocQuery>"),
    ),
    "paging": ("XDS-QUERY-019", swap("<q:AdhocQueryRequest", '<q:AdhocQueryRequest maxResults="10"')),
    "an unknown reason of a fault": (
        "HTTP-001",
        lambda capture: capture.__setitem__(0, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ),
}

_PART: Final = 'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"'
_OF_OTHERS: Final[dict[str, dict[str, tuple[str, Change]]]] = {
    "ITI-38": {
        "a query by id without home": ("XDS-QUERY-016", swap(f' home="{HOME}">', ">")),
        "an entry without home": ("XDS-QUERY-022", swap(f' home="{HOME}" mimeType', " mimeType")),
        "both ids of an entry": (
            "XDS-QUERY-007",
            swap("</rim:AdhocQuery>", slot("$XDSDocumentEntryUniqueId", "('1.2')") + "</rim:AdhocQuery>"),
        ),
        "an id that is no UUID": ("XDS-QUERY-020", swap(f"'{ENTRY}'", "'Document01'")),
        "an unknown AssociationType": (
            "XDS-QUERY-021",
            all_of(
                swap(GET_DOCUMENTS, "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"),
                swap("</rim:AdhocQuery>", slot("$AssociationTypes", "('RPLC')") + "</rim:AdhocQuery>"),
            ),
        ),
    },
    "ITI-39": {
        "a request without home": ("XDS-RET-006", swap(f"<x:HomeCommunityId>{HOME}</x:HomeCommunityId>", "")),
        "an error without home": (
            "XDS-RESP-012",
            all_of(
                swap(
                    f'<rs:RegistryResponse xmlns:rs="{RS}" {_STATUS}></rs:RegistryResponse>',
                    registry_response(PARTIAL, error("XDSRepositoryError")),
                )
            ),
        ),
    },
    "ITI-41": {
        "SIMPLE SOAP": (
            "SOAP-010",
            lambda capture: capture.__setitem__(
                0,
                simple("POST /xds HTTP/1.1", envelope(transaction("ITI-41").action, provide(b"", "0" * 40))),
            ),
        ),
        "no type": ("SOAP-012", swap(' type="application/xop+xml";', "")),
        "start-info text/xml": (
            "SOAP-013",
            swap('start-info="application/soap+xml"', 'start-info="text/xml"'),
        ),
        "start without brackets": ("SOAP-014", swap('start="<root@x>"', 'start="root@x"')),
        "start that names no part": ("SOAP-014", swap('start="<root@x>"', 'start="<r@x>"')),
        "another boundary": ("SOAP-015", swap('boundary="b1"', 'boundary="b2"')),
        "no closing boundary": ("SOAP-015", swap("--b1--", "")),
        "a root part as text/xml": ("SOAP-016", swap(_PART, "Content-Type: text/xml")),
        "a part without Content-ID": ("SOAP-017", swap("Content-ID: <root@x>\r\n", "")),
        "one Content-ID twice": ("SOAP-017", swap("Content-ID: <d1@x>", "Content-ID: <root@x>")),
        "a part in base64": (
            "SOAP-018",
            swap("Content-Transfer-Encoding: binary", "Content-Transfer-Encoding: base64"),
        ),
        "an Include without its part": ("SOAP-019", swap("cid:d1@x", "cid:d2@x")),
        "white space around an Include": ("SOAP-020", swap("<i:Include", "x<i:Include")),
        "a part that nothing includes": (
            "SOAP-021",
            swap(
                "--b1--", "--b1\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <d7@x>\r\n\r\nx\r\n--b1--"
            ),
        ),
        "a partial success of a submission": (
            "XDS-RESP-002",
            swap(
                f'<rs:RegistryResponse xmlns:rs="{RS}" {_STATUS}></rs:RegistryResponse>',
                registry_response(PARTIAL, error("XDSRepositoryError")),
            ),
        ),
        "the document before the metadata": (
            "XDS-PROV-001",
            swap(
                "<lcm:SubmitObjectsRequest",
                f'<x:Document id="{ENTRY}">AAAA</x:Document><lcm:SubmitObjectsRequest',
            ),
        ),
        "an entry without document": (
            "XDS-PROV-002",
            swap(f'<x:Document id="{ENTRY}"', '<x:Document id="other"'),
        ),
        "a document without entry": (
            "XDS-PROV-003",
            swap("</x:Document>", '</x:Document><x:Document id="other">AAAA</x:Document>'),
        ),
        "two documents of one id": (
            "XDS-PROV-004",
            swap("</x:Document>", f'</x:Document><x:Document id="{ENTRY}">AAAA</x:Document>'),
        ),
        "another uniqueId than the manifest": (
            "XDSI-DOC-001",
            swap('value="2.25.1001"', 'value="2.25.1009"'),
        ),
        "another hash": (
            "XDSI-DOC-002",
            swap(
                '<rim:Slot name="hash"><rim:ValueList><rim:Value>',
                '<rim:Slot name="hash"><rim:ValueList><rim:Value>' + f"{'0' * 40}</rim:Value><rim:Value>",
            ),
        ),
        "another size": (
            "XDSI-DOC-003",
            swap(
                '<rim:Slot name="size"><rim:ValueList><rim:Value>',
                '<rim:Slot name="size"><rim:ValueList><rim:Value>1',
            ),
        ),
        "a creationTime in local time": (
            "XDSI-DOC-004",
            swap(slot("creationTime", "20260301091500"), slot("creationTime", "20260301101500")),
        ),
        "a serviceStartTime in local time": ("XDSI-DOC-005", swap("20260228083000", "20260228093000")),
        "another study": ("XDSI-DOC-006", swap("2.25.500^^^^", "2.25.999^^^^")),
        "another accession number": ("XDSI-DOC-007", swap("A123^^^", "A124^^^")),
        "a document that is no manifest": ("XDSI-DOC-009", swap("DICM", "DICX")),
        "another source patient": ("XDSI-DOC-010", swap("P1^^^", "P9^^^")),
        "another birth date": ("XDSI-DOC-011", swap("PID-7|19700101", "PID-7|19700102")),
    },
    "ITI-42": {
        "a package": (
            "SOAP-011",
            lambda capture: capture.__setitem__(
                0,
                package("POST / HTTP/1.1", envelope(transaction("ITI-42").action, metadata.submission()), {}),
            ),
        ),
        "a fault with an unknown code": ("SOAP-046", lambda capture: _faulty(capture, fault("Client"))),
        "a fault without language": (
            "SOAP-047",
            lambda capture: _faulty(capture, fault().replace(' xml:lang="en"', "")),
        ),
        "a fault with the action of an answer": (
            "SOAP-048",
            lambda capture: _faulty(capture, fault(), action=answer_of(transaction("ITI-42")).action),
        ),
        "a fault of the sender with 500": ("SOAP-049", lambda capture: _faulty(capture, fault())),
    },
    "ITI-43": {
        "no DocumentRequest": (
            "XDS-RET-001",
            all_of(*(swap(document_request(uid, ""), "") for uid in ("2.25.1001", "2.25.1002"))),
        ),
        "another order": (
            "XDS-RET-002",
            swap(
                "<x:RepositoryUniqueId>1.2.3.77</x:RepositoryUniqueId><x:DocumentUniqueId>2.25.1001</x:DocumentUniqueId>",
                "<x:DocumentUniqueId>2.25.1001</x:DocumentUniqueId><x:RepositoryUniqueId>1.2.3.77</x:RepositoryUniqueId>",
            ),
        ),
        "a DocumentRequest of RAD": (
            "XDS-RET-003",
            swap(f'<x:DocumentRequest xmlns:x="{XDS}">', f'<x:DocumentRequest xmlns:x="{XDSI}">'),
        ),
        "a repository with urn:oid:": ("XDS-RET-004", swap("1.2.3.77", "urn:oid:1.2.3.77")),
        "an empty DocumentUniqueId": ("XDS-RET-005", swap(">2.25.1001<", "><")),
        "MimeType": ("XDS-RET-010", swap("mimeType>", "MimeType>", 2)),
        "no RegistryResponse": ("XDS-RET-010", swap("rs:RegistryResponse", "rs:Response", 2)),
        "an answer without repository": (
            "XDS-RET-011",
            swap(
                "<x:DocumentResponse><x:RepositoryUniqueId>1.2.3.77</x:RepositoryUniqueId>",
                "<x:DocumentResponse>",
            ),
        ),
        "an empty mimeType": ("XDS-RET-012", swap("<x:mimeType>application/dicom<", "<x:mimeType><")),
        "a Document that is no base64": (
            "XDS-RET-013",
            swap(xop_include("2.25.1001"), "!!"),
        ),
        "no Document": (
            "XDS-RET-013",
            swap(
                f"<x:Document>{xop_include('2.25.1001')}</x:Document>",
                "",
            ),
        ),
        "Success with nothing": (
            "XDS-RET-014",
            all_of(
                swap(PARTIAL, SUCCESS),
                swap(
                    retrieved("", "2.25.1001")
                    .partition("</rs:RegistryResponse>")[2]
                    .partition("</x:RetrieveDocumentSetResponse>")[0],
                    "",
                ),
            ),
        ),
        "a new id that is the old one": (
            "XDS-RET-015",
            swap("<x:mimeType>", "<x:NewDocumentUniqueId>2.25.1001</x:NewDocumentUniqueId><x:mimeType>"),
        ),
        "Success though a document is missing": (
            "XDS-RET-018",
            all_of(
                swap(PARTIAL, SUCCESS),
                swap(
                    error("XDSDocumentUniqueIdError", "2.25.1002"),
                    error("XDSDocumentUniqueIdError", "2.25.1002", WARNING),
                ),
            ),
        ),
        "a document that was not asked for": ("XDS-RET-019", swap("2.25.1001", "2.25.1009")),
        "an error without location": ("XDS-RESP-012", swap(' location="2.25.1002"', "")),
        "too many results": ("XDS-RESP-014", swap("XDSDocumentUniqueIdError", "XDSTooManyResults")),
    },
    "ITI-44": {
        "no ITSVersion": ("HL7V3-001", swap(' ITSVersion="XML_1.0"', "")),
        "no id": ("HL7V3-002", swap('<id root="2.25.7001"/>', "")),
        "no creationTime": ("HL7V3-003", swap('<creationTime value="20260301091500"/>', "")),
        "another interactionId": (
            "HL7V3-004",
            swap('extension="PRPA_IN201301UV02"', 'extension="PRPA_IN201302UV02"'),
        ),
        "no sender": (
            "HL7V3-005",
            swap('<sender typeCode="SND"><device><id root="1.2.3.2"/></device></sender>', ""),
        ),
        "a patient id without extension": ("HL7V3-006", swap(' extension="P-1"', "")),
        "a merge without prior registration": (
            "HL7V3-007",
            swap("PRPA_IN201301UV02", "PRPA_IN201304UV02", 9),
        ),
        "an unknown typeCode": ("HL7V3-008", swap('code="CA"', 'code="OK"')),
        "an acknowledgement of nothing": (
            "HL7V3-009",
            swap('<targetMessage><id root="2.25.7001"/></targetMessage>', ""),
        ),
    },
    "ITI-51": {
        "nothing that narrows it": (
            "XDS-QUERY-017",
            swap(
                slot("$XDSDocumentEntryPatientId", f"('{metadata.PATIENT}','{metadata.OTHER_PATIENT}')"), ""
            ),
        ),
    },
    "ITI-61": {
        "a Stable entry": ("XDS-META-030", swap(ON_DEMAND, "7edca82f-054d-47f2-a032-9b2a5b5186c1")),
        "an answer by the general rule": (
            "SOAP-041",
            swap("RegisterOnDemandDocumentResponse", "RegisterOnDemandDocumentEntryResponse"),
        ),
    },
    "ITI-62": {
        "nothing to remove": ("XDS-RM-001", swap(f'<rim:ObjectRef id="{ENTRY}"/>', "")),
        "a symbolic id": (
            "XDS-RM-002",
            swap(f'<rim:ObjectRef id="{ENTRY}"/>', '<rim:ObjectRef id="Document01"/>'),
        ),
        "a deletionScope": (
            "XDS-RM-003",
            swap("<l:RemoveObjectsRequest", '<l:RemoveObjectsRequest deletionScope="x"'),
        ),
    },
    "RAD-69": {
        "no studyInstanceUID": ("XDSI-RET-001", swap(' studyInstanceUID="2.25.500"', "")),
        "an empty seriesInstanceUID": ("XDSI-RET-002", swap('"2.25.501"', '""')),
        "a series without DocumentRequest": (
            "XDSI-RET-003",
            all_of(*(swap(document_request(uid, ""), "") for uid in ("2.25.5011", "2.25.5012"))),
        ),
        "no TransferSyntaxUID": (
            "XDSI-RET-004",
            swap("<r:TransferSyntaxUID>1.2.840.10008.1.2.1</r:TransferSyntaxUID>", ""),
        ),
        "an empty TransferSyntaxUID": ("XDSI-RET-004", swap(">1.2.840.10008.1.2.1<", "> <")),
        "the list first": (
            "XDSI-RET-005",
            swap("<r:StudyRequest", "<r:TransferSyntaxUIDList/><r:StudyRequest"),
        ),
        "a document that is no UID": ("XDSI-RET-006", swap(">2.25.5011<", ">image 1<")),
        "no Explicit VR Little Endian": (
            "XDSI-RET-007",
            swap(">1.2.840.10008.1.2.1<", ">1.2.840.10008.1.2.4.70<"),
        ),
        "another mimeType": (
            "XDSI-RET-008",
            swap("<x:mimeType>application/dicom<", "<x:mimeType>application/octet-stream<"),
        ),
        "an instance under another id": ("XDSI-RET-009", swap("DICM", "DICX")),
        "an image in another transfer syntax": (
            "XDSI-RET-010",
            lambda capture: _image_in_other_syntax(capture),
        ),
        "the action of RAD in the answer": (
            "SOAP-041",
            swap(
                "urn:ihe:iti:2007:RetrieveDocumentSetResponse",
                "urn:ihe:rad:2009:RetrieveImagingDocumentSetResponse",
            ),
        ),
    },
}


def _faulty(capture: list[str], body: str, action: str = f"{WSA}/soap/fault") -> None:
    request = capture[0].partition("\nHTTP/1.1")[0]
    answer = simple("HTTP/1.1 500 Error", envelope(action, body, relates_to=MESSAGE_ID))
    capture[0] = f"{request}\n{answer}"


def _image_in_other_syntax(capture: list[str]) -> None:
    image = part10(
        {
            0x00080016: "1.2.840.10008.5.1.4.1.1.2",
            0x00080018: "2.25.5011",
            0x00280010: Raw("US", b"\1\0"),
        },
        syntax="1.2.840.10008.1.2.4.70",
    )
    capture[0] = capture[0].replace(instance("2.25.5011").decode("latin_1"), image.decode("latin_1"))


def examples() -> Iterator[Example]:
    """A good capture of every transaction, and broken ones."""
    captures = good_captures()
    for number, capture in captures.items():
        mutations = _ITI18 if number == "ITI-18" else _OF_OTHERS.get(number, {})
        yield from mutated(KIND, number, [capture], encode, mutations)
    yield Example(
        "ITI-44 merge",
        KIND,
        exchange("ITI-44", feed(), acknowledgement())
        .replace(feed(), feed("PRPA_IN201304UV02", PRIOR))
        .replace("urn:hl7-org:v3:PRPA_IN201301UV02", "urn:hl7-org:v3:PRPA_IN201304UV02")
        .encode("latin_1"),
    )
    titled = manifest() | {0x00100010: "Doe^Jane^^Dr^PhD"}
    octets = part10(titled)
    provision = provide(octets, digest_of(octets)).replace("PID-5|Müller^Jane", "PID-5|Doe^Jane^^Dr^PhD")
    yield Example(
        "ITI-41: a name in the order of DICOM",
        KIND,
        exchange("ITI-41", provision, registry_response(), {"d1@x": octets}).encode("latin_1"),
        "XDSI-DOC-012",
    )
    unlocated = manifest()
    without(0x0040A375, 0, 0x00081115, 0, 0x0040E011)(unlocated)
    octets = part10(unlocated)
    yield Example(
        "ITI-41: a manifest without Retrieve Location UID",
        KIND,
        exchange("ITI-41", provide(octets, digest_of(octets)), registry_response(), {"d1@x": octets}).encode(
            "latin_1"
        ),
        "KOS-016",
    )
    octets = part10(described())
    provided = exchange("ITI-41", provide(octets, digest_of(octets)), registry_response(), {"d1@x": octets})
    yield Example(
        "ITI-41: the modality of a series is absent", KIND, provided.encode("latin_1"), "XDSI-DOC-008"
    )
    yield Example(
        "a fault", "soap-message", envelope(f"{WSA}/soap/fault", fault(), relates_to=MESSAGE_ID).encode()
    )
