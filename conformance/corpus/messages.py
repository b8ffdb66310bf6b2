"""Messages of SOAP transactions, and their captures, request and answer in one.

A capture is text whose characters are bytes, so that a change is one of text, also beside a document.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha1
from typing import Final

from conformance.corpus import metadata
from conformance.corpus.data_sets import part10
from conformance.corpus.metadata import ENTRY, RIM
from conformance.transactions import TRANSACTIONS, Transaction, answer_of

KIND: Final = "http-capture"
MESSAGE_ID: Final = "urn:uuid:10000000-0000-4000-8000-000000000001"
SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
WSA: Final = "http://www.w3.org/2005/08/addressing"
RS: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
_QUERY: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
XDS: Final = "urn:ihe:iti:xds-b:2007"
XDSI: Final = "urn:ihe:rad:xdsi-b:2009"
SUCCESS: Final = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
FAILURE: Final = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
PARTIAL: Final = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
ERROR: Final = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
WARNING: Final = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"
HOME: Final = "urn:oid:1.2.3.900"
FIND_DOCUMENTS: Final = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
GET_DOCUMENTS: Final = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
MULTI_PATIENT: Final = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
APPROVED: Final = "('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"


def transaction(number: str) -> Transaction:
    """The request of a transaction."""
    return next(one for one in TRANSACTIONS if one.number == number and one.is_request)


def envelope(action: str, body: str, *, relates_to: str = "") -> str:
    """A SOAP envelope: a request, or an answer when it relates to one."""
    headers = (
        f"<a:RelatesTo>{relates_to}</a:RelatesTo>"
        if relates_to
        else (
            f"<a:MessageID>{MESSAGE_ID}</a:MessageID><a:To>https://peer.example.org/xds</a:To>"
            f"<a:ReplyTo><a:Address>{WSA}/anonymous</a:Address></a:ReplyTo>"
        )
    )
    return (
        f'<s:Envelope xmlns:s="{SOAP}" xmlns:a="{WSA}"><s:Header>'
        f'<a:Action s:mustUnderstand="1">{action}</a:Action>{headers}</s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )


def simple(line: str, xml: str) -> str:
    """A message of SIMPLE SOAP."""
    head = "Host: peer.example.org\r\nContent-Type: application/soap+xml; charset=UTF-8"
    return _latin(f"{line}\r\n{head}\r\n\r\n{xml}\r\n")


def package(line: str, xml: str, documents: Mapping[str, bytes]) -> str:
    """A message of MTOM with its documents by Content-ID."""
    head = (
        f"{line}\r\nHost: peer.example.org\r\n"
        'Content-Type: multipart/related; type="application/xop+xml"; boundary="b1"; start="<root@x>"; '
        'start-info="application/soap+xml"\r\n\r\n'
    )
    root = (
        '--b1\r\nContent-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\n'
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <root@x>\r\n\r\n{xml}\r\n"
    )
    attached = "".join(
        "--b1\r\nContent-Type: application/dicom\r\nContent-Transfer-Encoding: binary\r\n"
        f"Content-ID: <{id}>\r\n\r\n{octets.decode('latin_1')}\r\n"
        for id, octets in documents.items()
    )
    return _latin(head + root) + attached + "--b1--\r\n"


def _latin(text: str) -> str:
    return text.encode().decode("latin_1")


def encode(capture: list[str]) -> bytes:
    """The bytes of a capture in a list of one, which changes can be made to."""
    return capture[0].encode("latin_1")


def exchange(
    number: str,
    body: str,
    answer: str,
    sent_documents: Mapping[str, bytes] | None = None,
    received_documents: Mapping[str, bytes] | None = None,
) -> str:
    """A request and its answer."""
    request = transaction(number)
    due = answer_of(request)
    asked_xml = envelope(request.action, body)
    answer_xml = envelope(due.action, answer, relates_to=MESSAGE_ID)
    post, ok = "POST /xds HTTP/1.1", "HTTP/1.1 200 OK"
    if not request.mtom:
        return f"{simple(post, asked_xml)}\n{simple(ok, answer_xml)}"
    question = package(post, asked_xml, sent_documents or {})
    return f"{question}\n{package(ok, answer_xml, received_documents or {})}"


# --- bodies ------------------------------------------------------------------------------------------


def registry_response(status: str = SUCCESS, errors: str = "") -> str:
    """A RegistryResponse."""
    listed = f"<rs:RegistryErrorList>{errors}</rs:RegistryErrorList>" if errors else ""
    return f'<rs:RegistryResponse xmlns:rs="{RS}" status="{status}">{listed}</rs:RegistryResponse>'


def error(code: str, location: str = "", severity: str = ERROR) -> str:
    """A RegistryError."""
    at = f' location="{location}"' if location else ""
    return (
        f'<rs:RegistryError xmlns:rs="{RS}" errorCode="{code}" codeContext="why" severity="{severity}"{at}/>'
    )


def query(id: str, *slots: str, home: str = "") -> str:
    """An AdhocQueryRequest."""
    at = f' home="{home}"' if home else ""
    return (
        f'<q:AdhocQueryRequest xmlns:q="{_QUERY}" xmlns:rim="{RIM}">'
        '<q:ResponseOption returnComposedObjects="true" returnType="LeafClass"/>'
        f'<rim:AdhocQuery id="{id}"{at}>{"".join(slots)}</rim:AdhocQuery></q:AdhocQueryRequest>'
    )


def found(*objects: str, status: str = SUCCESS, errors: str = "") -> str:
    """An AdhocQueryResponse."""
    listed = f'<rs:RegistryErrorList xmlns:rs="{RS}">{errors}</rs:RegistryErrorList>' if errors else ""
    return (
        f'<q:AdhocQueryResponse xmlns:q="{_QUERY}" xmlns:rim="{RIM}" status="{status}">{listed}'
        f"<rim:RegistryObjectList>{''.join(objects)}</rim:RegistryObjectList></q:AdhocQueryResponse>"
    )


def retrieve(root: str = "RetrieveDocumentSetRequest", home: str = "", *uids: str) -> str:
    """A RetrieveDocumentSetRequest, or another of its form."""
    requests = "".join(document_request(uid, home) for uid in uids or ("2.25.1001",))
    return f'<x:{root} xmlns:x="{XDS}">{requests}</x:{root}>'


def document_request(uid: str, home: str) -> str:
    """One DocumentRequest."""
    community = f"<x:HomeCommunityId>{home}</x:HomeCommunityId>" if home else ""
    return (
        f'<x:DocumentRequest xmlns:x="{XDS}">{community}'
        "<x:RepositoryUniqueId>1.2.3.77</x:RepositoryUniqueId>"
        f"<x:DocumentUniqueId>{uid}</x:DocumentUniqueId></x:DocumentRequest>"
    )


def retrieved(home: str = "", *uids: str, status: str = SUCCESS, errors: str = "") -> str:
    """A RetrieveDocumentSetResponse."""
    community = f"<x:HomeCommunityId>{home}</x:HomeCommunityId>" if home else ""
    documents = "".join(
        f"<x:DocumentResponse>{community}<x:RepositoryUniqueId>1.2.3.77</x:RepositoryUniqueId>"
        f"<x:DocumentUniqueId>{uid}</x:DocumentUniqueId><x:mimeType>application/dicom</x:mimeType>"
        f"<x:Document>{xop_include(uid)}</x:Document></x:DocumentResponse>"
        for uid in uids
    )
    return (
        f'<x:RetrieveDocumentSetResponse xmlns:x="{XDS}">{registry_response(status, errors)}{documents}'
        "</x:RetrieveDocumentSetResponse>"
    )


def xop_include(id: str) -> str:
    """What stands for the content of a part (XOP 1.0, 2.1)."""
    return f'<i:Include xmlns:i="http://www.w3.org/2004/08/xop/include" href="cid:{id}@x"/>'


def images(home: str = "") -> str:
    """A RetrieveImagingDocumentSetRequest."""
    return (
        f'<r:RetrieveImagingDocumentSetRequest xmlns:r="{XDSI}">'
        '<r:StudyRequest studyInstanceUID="2.25.500">'
        f'<r:SeriesRequest seriesInstanceUID="2.25.501">{document_request("2.25.5011", home)}'
        f"{document_request('2.25.5012', home)}</r:SeriesRequest></r:StudyRequest><r:TransferSyntaxUIDList>"
        "<r:TransferSyntaxUID>1.2.840.10008.1.2.1</r:TransferSyntaxUID></r:TransferSyntaxUIDList>"
        "</r:RetrieveImagingDocumentSetRequest>"
    )


def instance(uid: str) -> bytes:
    """A small instance."""
    return part10({0x00080016: "1.2.840.10008.5.1.4.1.1.2", 0x00080018: uid, 0x0020000D: "2.25.500"})


def digest_of(octets: bytes) -> str:
    """The hash that metadata state."""
    return sha1(octets, usedforsecurity=False).hexdigest()


def provide(octets: bytes, sha1: str) -> str:
    """A ProvideAndRegisterDocumentSetRequest of a manifest."""
    return (
        f'<x:ProvideAndRegisterDocumentSetRequest xmlns:x="{XDS}">{metadata.submission(sha1, len(octets))}'
        f'<x:Document id="{ENTRY}">{xop_include("d1")}'
        "</x:Document></x:ProvideAndRegisterDocumentSetRequest>"
    )


def feed(name: str = "PRPA_IN201301UV02", prior: str = "") -> str:
    """A patient identity feed of HL7 v3."""
    return (
        f'<{name} xmlns="urn:hl7-org:v3" ITSVersion="XML_1.0"><id root="2.25.7001"/>'
        '<creationTime value="20260301091500"/>'
        f'<interactionId root="2.16.840.1.113883.1.6" extension="{name}"/>'
        '<receiver typeCode="RCV"><device><id root="1.2.3.1"/></device></receiver>'
        '<sender typeCode="SND"><device><id root="1.2.3.2"/></device></sender>'
        "<controlActProcess><subject><registrationEvent><subject1><patient>"
        '<id root="1.3.6.1.4.1.21367.13.20.1000" extension="P-1"/></patient></subject1>'
        f"{prior}</registrationEvent></subject></controlActProcess></{name}>"
    )


PRIOR: Final = (
    "<replacementOf><priorRegistration><subject1><priorRegisteredRole>"
    '<id root="1.3.6.1.4.1.21367.13.20.1000" extension="P-0"/></priorRegisteredRole></subject1>'
    "</priorRegistration></replacementOf>"
)


def acknowledgement() -> str:
    """The acknowledgement of a feed."""
    name = "MCCI_IN000002UV01"
    return (
        f'<{name} xmlns="urn:hl7-org:v3" ITSVersion="XML_1.0"><id root="2.25.7002"/>'
        '<creationTime value="20260301091501"/>'
        f'<interactionId root="2.16.840.1.113883.1.6" extension="{name}"/>'
        '<receiver typeCode="RCV"><device><id root="1.2.3.2"/></device></receiver>'
        '<sender typeCode="SND"><device><id root="1.2.3.1"/></device></sender>'
        '<acknowledgement><typeCode code="CA"/><targetMessage><id root="2.25.7001"/></targetMessage>'
        f"</acknowledgement></{name}>"
    )


def removal(*ids: str) -> str:
    """A RemoveObjectsRequest."""
    listed = "".join(f'<rim:ObjectRef id="{id}"/>' for id in ids)
    return (
        f'<l:RemoveObjectsRequest xmlns:l="{metadata.LCM}" xmlns:rim="{RIM}"><rim:ObjectRefList>{listed}'
        "</rim:ObjectRefList></l:RemoveObjectsRequest>"
    )


def fault(code: str = "Sender") -> str:
    """A fault of SOAP."""
    return (
        f"<s:Fault><s:Code><s:Value>s:{code}</s:Value></s:Code>"
        '<s:Reason><s:Text xml:lang="en">not understood</s:Text></s:Reason></s:Fault>'
    )
