"""What kind of thing some bytes are, told by their beginning."""

from __future__ import annotations

import re
from contextlib import suppress
from enum import StrEnum
from typing import Final
from xml.parsers import expat

#: Bytes that are looked at.
HEAD: Final = 64 * 1024


class Kind(StrEnum):
    """The kinds of things that are judged; the value is the name in reports."""

    MANIFEST = "kos-manifest"
    DICOM = "dicom"
    METADATA = "xds-metadata"
    MESSAGE = "soap-message"
    CAPTURE = "http-capture"
    AUDIT = "audit-message"
    ASSERTION = "saml-assertion"
    JWT = "json-web-token"
    ADT = "hl7v2-adt"
    FHIR = "fhir"
    DICOM_JSON = "dicom-json"
    CONSENT_DOCUMENT = "cda-consent"
    POLICY = "xacml-policy"
    TLS = "tls-endpoint"
    TOGETHER = "files-together"
    UNKNOWN = "unknown"


_ROOTS: Final = {
    "http://www.w3.org/2003/05/soap-envelope Envelope": Kind.MESSAGE,
    "http://schemas.xmlsoap.org/soap/envelope/ Envelope": Kind.MESSAGE,
    "urn:oasis:names:tc:SAML:2.0:assertion Assertion": Kind.ASSERTION,
    "urn:hl7-org:v3 ClinicalDocument": Kind.CONSENT_DOCUMENT,
    "AuditMessage": Kind.AUDIT,
}
_METADATA_NAMESPACES: Final = (
    "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0",
    "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0",
    "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0",
    "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0",
    "urn:ihe:iti:xds-b:2007",
    "urn:ihe:iti:rmd:2017",
    "urn:ihe:rad:xdsi-b:2009",
)
_POLICY_NAMESPACES: Final = (
    "urn:oasis:names:tc:xacml:2.0:policy:schema:os",
    "urn:oasis:names:tc:xacml:3.0:core:schema:wd-17",
)

_HTTP: Final = re.compile(rb"(?:[A-Z]{3,8} \S{1,8000} HTTP/\d|HTTP/\d(?:\.\d)? \d{3})")
_HEADERS: Final = re.compile(rb"(?:[A-Za-z][A-Za-z-]{1,40}:[^\n]*\n)+", re.ASCII)
_SYSLOG: Final = re.compile(rb"(?:\d{1,9} )?<\d{1,3}>1 ")
_TOKEN: Final = re.compile(rb"\s*(?:Bearer\s+)?eyJ[\w-]+\.[\w-]*\.[\w-]*\s*", re.ASCII)
_DICOM_JSON: Final = re.compile(rb'\s*(?:\[\s*)?\{\s*"[0-9A-Fa-f]{8}"\s*:')
_BOM: Final = b"\xef\xbb\xbf"


def recognise(head: bytes) -> Kind:
    """What kind of thing begins with `head`, at most `HEAD` bytes; nothing is read beyond it."""
    if head[128:132] == b"DICM" or _begins_data_set(head):
        return Kind.DICOM
    text = head.removeprefix(_BOM).lstrip()
    if _HTTP.match(text) or text.startswith(b"--") or _is_headers(text):
        return Kind.CAPTURE
    if text.lstrip(b"\x0b").removeprefix(_BOM).startswith((b"MSH", b"FHS", b"BHS")):
        return Kind.ADT
    if _SYSLOG.match(text):
        return Kind.AUDIT
    if b"AuditMessage" in text[:200]:
        return Kind.AUDIT
    if text.startswith(b"<") or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _of_root(head)
    if text.startswith((b"{", b"[")):
        return _of_json(text)
    if _TOKEN.fullmatch(text):
        return Kind.JWT
    return Kind.UNKNOWN


def _begins_data_set(head: bytes) -> bool:
    """Whether a data set or File Meta Information begins at once, without preamble."""
    return head[:4] in (b"\x02\x00\x00\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x16\x00")


def _is_headers(text: bytes) -> bool:
    block = _HEADERS.match(text)
    return block is not None and b"content-type:" in block[0].lower()


def _of_root(head: bytes) -> Kind:
    name = root_name(head)
    if name in _ROOTS:
        return _ROOTS[name]
    namespace, _, _ = name.rpartition(" ")
    if namespace in _METADATA_NAMESPACES:
        return Kind.METADATA
    if not name and b"Envelope" in head[:4096]:
        return Kind.MESSAGE  # what is wrong with it is told there
    if namespace in _POLICY_NAMESPACES or name.endswith((" Policy", " PolicySet")):
        return Kind.POLICY
    return Kind.UNKNOWN


def root_name(head: bytes) -> str:
    """The expanded name (`namespace local`) of the first element, or empty."""
    names: list[str] = []
    parser = expat.ParserCreate(None, " ")
    parser.StartElementHandler = lambda name, _attributes: names.append(name)
    with suppress(expat.ExpatError, ValueError):  # what follows the first element is judged later
        parser.Parse(head, False)
    return names[0] if names else ""


def _of_json(text: bytes) -> Kind:
    if _DICOM_JSON.match(text):
        return Kind.DICOM_JSON
    return Kind.FHIR if b'"resourceType"' in text else Kind.UNKNOWN
