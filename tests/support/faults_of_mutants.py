"""The faults of mutants: each is one thing that a system could do wrong."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.support.mutating_proxy import Answer, Fault, body, content_type, header, sent, status

OASIS = "urn:oasis:names:tc:ebxml-regrep"
SUCCESS, FAILURE = f"{OASIS}:ResponseStatusType:Success", f"{OASIS}:ResponseStatusType:Failure"
PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"
APPROVED, DEPRECATED = f"{OASIS}:StatusType:Approved", f"{OASIS}:StatusType:Deprecated"
SOAP, REG42, REG18, REP41, REP43 = ("REG-SOAP",), ("REG-42",), ("REG-18",), ("REP-41",), ("REP-43",)
QIDO, XUA = ("IMG-129",), ("XUA-REG",)
IMG68 = ("IMG-68-102", "IMG-68-103", "IMG-68-105", "IMG-68-201")
FRONT, PAGES, URI, COMMIT = ("CON-FRONT",), ("CON-PAGE",), ("IMG-55",), ("IMG-13-",)
IMG69, IMG107, STOW, XCA = ("IMG-69",), ("IMG-107",), ("IMG-108",), ("XCA-38", "XCA-39", "XCA-75", "XCA-18")


def last_part_lost(answer: Answer) -> Answer:
    """The last part of a package does not come."""
    boundary = re.search(r'boundary="?([^";]+)', answer.content_type)
    if boundary is None or answer.body.count(f"--{boundary[1]}".encode()) < 3:
        return answer
    delimiter = f"\r\n--{boundary[1]}".encode()
    pieces = answer.body.split(delimiter)
    return replace(answer, body=delimiter.join((*pieces[:-2], pieces[-1])))


def ignored(parameter: str) -> Fault:
    """A registry that does not look at a parameter of FindDocuments."""
    return Fault(
        f"${parameter} is ignored",
        ("REG-18-4",),
        request=sent(rf'<rim:Slot name="\$XDSDocumentEntry{parameter}">.*?</rim:Slot>', ""),
    )


def slot_lost(name: str) -> Fault:
    """A registry that loses a slot."""
    return Fault(
        f"the slot {name} is lost", ("REG-42-6",), answer=body(rf'<rim:Slot name="{name}".*?</rim:Slot>', "")
    )


FAULTS = (
    # --- SOAP -------------------------------------------------------------------------------------------
    Fault("no RelatesTo", SOAP, answer=body(r"<wsa:RelatesTo>.*?</wsa:RelatesTo>", "")),
    Fault("another RelatesTo", SOAP, answer=body(r"(<wsa:RelatesTo>)", r"\1x")),
    Fault("the action of the request", SOAP, answer=body("StoredQueryResponse", "StoredQuery")),
    Fault("no Action", SOAP, answer=body(r"<wsa:Action.*?</wsa:Action>", "")),
    Fault("an Action that nobody must understand", SOAP, answer=body(' soap:mustUnderstand="1"', "")),
    Fault("text/xml", SOAP, answer=content_type(r"application/soap\+xml", "text/xml")),
    Fault("Receiver in place of Sender", SOAP, answer=body("soap:Sender", "soap:Receiver")),
    Fault("a fault without subcode", SOAP, answer=body(r"<soap:Subcode>.*</soap:Subcode>", "")),
    Fault("a fault without its action", SOAP, answer=body("http://www.w3.org/2005/08/addressing/fault", "urn:x")),
    Fault("MustUnderstand is forgotten", SOAP, request=sent(' s:mustUnderstand="1"', "")),
    Fault("SOAP 1.1 is accepted", SOAP, request=sent("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope")),
    Fault("a DOCTYPE is accepted", SOAP, request=sent(r"<!DOCTYPE.*?\]>", "")),
    Fault("any action is answered", SOAP, request=sent("urn:probe:nobody:knows:this", "urn:ihe:iti:2007:RegistryStoredQuery")),
    Fault("HTTP 500 for everything", SOAP, answer=status(200, 500)),
    Fault("start names another part", ("REP-SOAP",), answer=content_type(r'start="<', 'start="<x')),
    Fault("a package without start-info", ("REP-SOAP",), answer=content_type(r'; start-info="[^"]*"', "")),
    Fault("a package of another type", ("REP-SOAP",), answer=content_type("application/xop[+]xml", "text/xml")),
    # --- submissions ------------------------------------------------------------------------------------
    Fault("everything is a Success", REG42, answer=body(FAILURE, SUCCESS)),
    Fault("nothing is a Success", REG42, answer=body(SUCCESS, FAILURE)),
    Fault("one errorCode for all", REG42, answer=body('errorCode="[^"]*"', 'errorCode="XDSRegistryError"')),
    Fault("errors without code", REG42, answer=body(' errorCode="[^"]*"', "")),
    Fault("no errors are named", REG42, answer=body(r"<rs:RegistryErrorList.*?</rs:RegistryErrorList>", "")),
    Fault("codeContext is empty", REG42, answer=body('codeContext="[^"]*"', 'codeContext=""')),
    Fault("XDSUnknownPatientId is another", REG42, answer=body("XDSUnknownPatientId", "XDSPatientIdDoesNotMatch")),
    Fault("nothing is deprecated", REG42, answer=body(DEPRECATED, APPROVED)),
    Fault("everything is deprecated", REG42, answer=body(f'status="{APPROVED}"', f'status="{DEPRECATED}"')),
    Fault("RPLC is taken for APND", REG42, request=sent("AssociationType:RPLC", "AssociationType:APND")),
    Fault("APND is taken for RPLC", REG42, request=sent("AssociationType:APND", "AssociationType:RPLC")),
    Fault("folders lose what is new in them", REG42, request=sent(r'<rim:Association id="[^"]*" associationType="[^"]*HasMember" sourceObject="urn:uuid[^>]*>.*?</rim:Association>', "")),
    Fault("the hash is not looked at", REG42, request=sent("0{40}", "2fd4e1c67a2d28fced849ee1bb76e7391b93eb12")),
    Fault("the size is not looked at", REG42, request=sent("<rim:Value>44<", "<rim:Value>43<")),
    Fault("extra slots are lost without a word", REG42, answer=body(r'<rim:Slot name="urn:probe:note".*?</rim:Slot>', "")),
    Fault("a wrong time is accepted", REG42, request=sent("<rim:Value>20240231<", "<rim:Value>20240229<")),
    Fault("memberships without status are accepted", REG42, request=sent("<rim:Value>Perhaps<", "<rim:Value>Original<")),
    Fault("titles are shortened", REG42, answer=body("Title of the probe", "Title")),
    Fault("display names are lost", REG42, answer=body('value="Display"', 'value=""')),
    Fault("coding schemes are lost", REG42, answer=body("<rim:Value>2.999.5</rim:Value>", "<rim:Value>x</rim:Value>")),
    Fault("lastUpdateTime is lost", REG42, answer=body(r'<rim:Slot name="lastUpdateTime".*?</rim:Slot>', "")),
    Fault("ids stay symbolic", REG42, answer=body('classifiedObject="urn:uuid:[^"]*"', 'classifiedObject="entry"')),
    slot_lost("languageCode"),
    slot_lost("sourcePatientId"),
    slot_lost("serviceStartTime"),
    slot_lost("legalAuthenticator"),
    slot_lost("URI"),
    # --- queries ----------------------------------------------------------------------------------------
    Fault("one ObjectRef is dropped", REG18, answer=body(r"<rim:ObjectRef [^>]*/>", "", times=1)),
    Fault("one entry is dropped", REG18, answer=body(r"<rim:ExtrinsicObject .*?</rim:ExtrinsicObject>", "", times=1)),
    Fault("one Association is dropped", REG18, answer=body(r"<rim:Association .*?</rim:Association>", "", times=1)),
    Fault("one package is dropped", REG18, answer=body(r"<rim:RegistryPackage .*?</rim:RegistryPackage>", "", times=1)),
    Fault("ObjectRefs are full objects", REG18, request=sent('returnType="ObjectRef"', 'returnType="LeafClass"')),
    Fault("an empty answer has no RegistryObjectList", REG18, answer=body(r"<rim:RegistryObjectList></rim:RegistryObjectList>", "")),
    Fault("a bare code is accepted", REG18, request=sent(r"\('IMAGES'\)", "('IMAGES^^1.3.6.1.4.1.19376.1.2.6.1')")),
    Fault("a missing parameter is another error", REG18, answer=body("XDSStoredQueryMissingParam", "XDSRegistryError")),
    Fault("unknown queries are empty", REG18, answer=body(f'status="{FAILURE}">(.*?XDSUnknownStoredQuery)', rf'status="{SUCCESS}">\1')),
    Fault("patients are mixed", REG18, answer=body("XDSResultNotSinglePatient", "XDSTooManyResults")),
    Fault("nested objectTypes are lost", REG18, answer=body(r'(<rim:Classification [^>]*?) objectType="[^"]*"', r"\1")),
    *(ignored(name) for name in (
        "ClassCode", "TypeCode", "FormatCode", "CreationTimeFrom", "CreationTimeTo", "ServiceStartTimeTo",
        "ServiceStopTimeFrom", "AuthorPerson", "EventCodeList", "ConfidentialityCode", "PracticeSettingCode",
    )),
    # --- documents --------------------------------------------------------------------------------------
    Fault("a part is lost", REP43, answer=last_part_lost),
    Fault("a byte of a document is another", REP41, answer=body("%PDF", "%PDG")),
    Fault("line ends are changed", REP41, answer=body("text\r\n", "text\n")),
    Fault("the media type is another", REP43, answer=body("<xds:mimeType>[^<]*<", "<xds:mimeType>text/plain<")),
    Fault("the uniqueId is another", REP43, answer=body("<xds:DocumentUniqueId>", "<xds:DocumentUniqueId>9")),
    Fault("the repository is another", REP43, answer=body("<xds:RepositoryUniqueId>", "<xds:RepositoryUniqueId>9")),
    Fault("errors have no location", REP43, answer=body(' location="[^"]*"', "")),
    Fault("errors have no severity", REP43, answer=body(' severity="[^"]*"', "")),
    Fault("PartialSuccess is Success", REP43, answer=body(PARTIAL, SUCCESS)),
    Fault("PartialSuccess is Failure", REP43, answer=body(PARTIAL, FAILURE)),
    Fault("unknown documents are another error", REP43, answer=body("XDSDocumentUniqueIdError", "XDSRepositoryError")),
    Fault("unknown repositories are another error", REP43, answer=body("XDSUnknownRepositoryId", "XDSRepositoryError")),
    Fault("a wrong hash is accepted", REP41, request=sent('(name="hash"><rim:ValueList><rim:Value>)0{40}', r"\1")),
    Fault("registry's errors are the repository's", REP41, answer=body("XDSUnknownPatientId", "XDSRepositoryError")),
    # --- images -----------------------------------------------------------------------------------------
    Fault("transfer syntaxes are ignored", IMG69, request=sent(r"(<xdsi:TransferSyntaxUIDList>).*?(</xdsi:TransferSyntaxUIDList>)", r"\1<xdsi:TransferSyntaxUID>1.2.840.10008.1.2.1</xdsi:TransferSyntaxUID>\2")),
    Fault("pixels are another", IMG69, answer=body(bytes(range(14, 30)).decode("latin-1"), "x" * 16)),
    Fault("a patient is another", IMG69, answer=body("Probe\\^Rick", "Probe^Rock")),
    Fault("an image is lost", IMG69, answer=last_part_lost),
    Fault("the ITI action is the RAD one", IMG69, answer=body("urn:ihe:iti:2007:RetrieveDocumentSetResponse", "urn:ihe:rad:2009:RetrieveImagingDocumentSetResponse")),
    Fault("studies are not looked at", IMG69, answer=body("XDSDocumentUniqueIdError", "XDSRepositoryError")),
    Fault("metadata hold no VR", IMG107, answer=body('"vr": ?"[A-Z]{2}",?', "")),
    Fault("what is not there is empty", IMG107, answer=status(404, 200)),
    Fault("nothing is unacceptable", IMG107, answer=status(406, 200)),
    Fault("parts have no type", IMG107, answer=content_type(r' ?type="[^"]*";?', "")),
    Fault("a conflict is a success", STOW, answer=status(409, 200)),
    Fault("what is half stored is stored", STOW, answer=status(202, 200)),
    Fault("failures are not named", STOW, answer=body('"00081198"', '"00081197"')),
    Fault("any body is malformed", STOW, answer=status(415, 400)),
    Fault("matches are of another study", QIDO, answer=body('"0020000D"', '"0020000C"')),
    Fault("matches have no date", QIDO, answer=body('"00080020"', '"00080021"')),
    Fault("nothing is found", QIDO, answer=lambda answer: replace(answer, body=b"[]") if answer.body[:1] == b"[" else answer),
    Fault("a wrong limit is no mistake", QIDO, answer=status(400, 200)),
    Fault("what is not there is there", URI, answer=status(404, 200)),
    Fault("JPEG is called DICOM", URI, answer=content_type("image/jpeg", "application/dicom")),
    Fault("a missing parameter is no mistake", URI, answer=status(400, 200)),
    Fault("failures of commitment are not named", COMMIT, answer=body('"00081198"', '"00081197"')),
    Fault("failures of commitment have no reason", COMMIT, answer=body('"00081197"', '"00081196"')),
    Fault("what was committed is forgotten", COMMIT, answer=body('"00081199"', '"00081194"')),
    # --- manifests --------------------------------------------------------------------------------------
    Fault("the manifest is another than the one that is registered", IMG68, answer=body(r"Probe\^Rick", "Probe^Rock")),
    Fault("manifests are of another coding scheme", IMG68, answer=body(r"1\.2\.840\.10008\.2\.6\.1<", "1.2.840.10008.2.6.2<")),
    Fault("manifests are of another media type", IMG68, answer=body('mimeType="application/dicom"', 'mimeType="application/pdf"')),
    Fault("the size of manifests is another", IMG68, answer=body(r'(<rim:Slot name="size"><rim:ValueList><rim:Value>)', r"\g<1>9")),
    Fault("manifests have another title", IMG68, answer=body("Manifest with Description", "Manifest with Descriptiom")),
    # --- a consumer's front and pages -------------------------------------------------------------------
    Fault("the front finds nothing", FRONT, answer=lambda answer: replace(answer, body=b"[]") if answer.body[:1] == b"[" else answer),
    Fault("what is a part is the whole", FRONT, answer=status(206, 200)),
    Fault("what failed is a study without images", FRONT, answer=status(502, 200)),
    Fault("any study is there", FRONT, answer=status(404, 200)),
    Fault("frames are others", FRONT, answer=body(bytes(range(14, 30)).decode("latin-1"), "x" * 16)),
    Fault("a search tells another patient", FRONT, answer=body('"P-1"', '"P-3"')),
    Fault("an image is lost on the way", FRONT, answer=last_part_lost),
    Fault("answers are for everybody's cache", FRONT, answer=header("cache-control", ".*", "public, max-age=600")),
    Fault("metadata are of another study", FRONT, answer=body('"00080018"', '"00080019"')),
    Fault("renderings are of another type", FRONT, answer=content_type("image/jpeg", "image/png")),
    Fault("forms of others are taken", PAGES, answer=status(403, 200)),
    Fault("links that are made up lead somewhere", PAGES, answer=status(404, 200)),
    Fault("a failure is a page like any other", PAGES, answer=status(502, 200)),
    Fault("nothing is found for anybody", PAGES, answer=body("/studies/", "/about/")),
    Fault("images are changed on their way", PAGES, answer=body(bytes(range(14, 30)).decode("latin-1"), "x" * 16)),
    Fault("addresses name the patient", PAGES, answer=header("location", "/searches/", "/searches/P-1/../")),
    Fault("pages are kept by caches", PAGES, answer=header("cache-control", "no-store", "max-age=60")),
    Fault("other sites may frame pages", PAGES, answer=header("content-security-policy", "frame-ancestors 'none'", "frame-ancestors *")),
    # --- users ------------------------------------------------------------------------------------------
    Fault("assertions are not looked at", XUA, request=sent("<w:Security.*</w:Security>", "")),
    Fault("one fault for every assertion", XUA, answer=body("wsse:(?:InvalidSecurityToken|FailedCheck|UnsupportedAlgorithm|UnsupportedSecurityToken|InvalidSecurity)<", "wsse:FailedAuthentication<")),
    Fault("what was used is used again", XUA, request=sent("<s:OneTimeUse/>", "")),
    Fault("no assertion is accepted", XUA, request=sent("<ds:SignatureValue>[^<]*", "<ds:SignatureValue>AAAA")),
    Fault("faults tell what is there", XUA, answer=body("(</soap:Reason>)", r"\1<soap:Detail><rim:RegistryObjectList xmlns:rim='urn:x'/></soap:Detail>")),
    # --- gateways ---------------------------------------------------------------------------------------
    Fault("home is lost", XCA, answer=body(' home="[^"]*"', "")),
    Fault("HomeCommunityId is lost", XCA, answer=body(r"<xds:HomeCommunityId>[^<]*</xds:HomeCommunityId>", "")),
    Fault("errors of gateways have no location", XCA, answer=body(' location="[^"]*"', "")),
    Fault("unknown communities are another error", XCA, answer=body("XDSUnknownCommunity", "XDSRepositoryError")),
    Fault("missing homes are another error", XCA, answer=body("XDSMissingHomeCommunityId", "XDSRegistryError")),
    Fault("the response action of RAD-75 is RAD-69's", XCA, answer=body("urn:ihe:rad:2011:CrossGatewayRetrieveImagingDocumentSetResponse", "urn:ihe:iti:2007:RetrieveDocumentSetResponse")),
)  # fmt: skip
