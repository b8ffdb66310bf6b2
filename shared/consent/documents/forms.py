"""Which documents are consents, told by their metadata, and how the content of one reaches the registry.

A registry hears of a document's metadata alone (ITI-42), and those of APPC and FHIR Consent do not say what
was consented to. Our repository adds the content as extra metadata (ITI TF-3 4.2.3.1.6), so that it is
translated, registered and in force in one step; the registry takes it out again.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Final

from shared.consent.documents import appc, bppc, fhir_consent
from shared.consent.documents.bppc import Meanings
from shared.consent.documents.translation import NotTranslatable, Translation
from shared.ebrim.model import DocumentEntry, Slot
from shared.security.caller import Caller

MOST_BYTES: Final = 1024 * 1024
"""Of a consent that is translated by its content."""
FHIR_CONSENT: Final = "https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consentBasic"

CONTENT: Final = "urn:xdsi:consent-document"
#: Characters of base64 in a value: one of a Slot has at most 256 (ebRIM LongName).
_OF_A_VALUE: Final = 252

_FHIR_FORMATS: Final = frozenset(
    f"https://profiles.ihe.net/ITI/PCF/StructureDefinition/IHE.PCF.consent{level}"
    for level in ("Basic", "Intermediate", "Advanced")
)
_FHIR_TYPES: Final = frozenset({"application/fhir+json", "application/json", "application/fhir+xml"})
_LOINC: Final = "2.16.840.1.113883.6.1"
#: Classes of consent documents; the last one is of old documents, with any scheme.
_CLASSES: Final = frozenset({f"57016-8^^{_LOINC}", f"59284-0^^{_LOINC}"})
_OLD_CLASS: Final = "Consent"


class ConsentForm(StrEnum):
    """What a consent document is written in."""

    BPPC = "BPPC"
    APPC = "APPC"
    FHIR = "FHIR Consent"


def form_of(entry: DocumentEntry) -> ConsentForm | None:
    """The form of a document that is read as a consent; None of any other."""
    code = entry.format_code.value
    if code in bppc.FORMAT_CODES:
        return ConsentForm.BPPC
    if code == appc.FORMAT_CODE:
        return ConsentForm.APPC
    if code in _FHIR_FORMATS or (is_of_class(entry) and entry.mime_type in _FHIR_TYPES):
        return ConsentForm.FHIR
    return None


def form_by_code(format_code: str) -> ConsentForm:
    """The form that a format code names; raises `NotTranslatable`."""
    if format_code in bppc.FORMAT_CODES:
        return ConsentForm.BPPC
    if format_code == appc.FORMAT_CODE:
        return ConsentForm.APPC
    if format_code in _FHIR_FORMATS:
        return ConsentForm.FHIR
    names = ", ".join(sorted({*bppc.FORMAT_CODES, appc.FORMAT_CODE, *_FHIR_FORMATS}))
    raise NotTranslatable(f"format_code is none of a consent; these are {names}")


def is_of_class(entry: DocumentEntry) -> bool:
    """Whether the class of a document says that it is a consent (ITI TF-3 5.1.2)."""
    code = entry.class_code
    return f"{code.value}^^{code.scheme.removeprefix('urn:oid:')}" in _CLASSES or code.value == _OLD_CLASS


def may_submit(caller: Caller) -> bool:
    """Whether the node may submit consent documents: a node of the community, or one with that right."""
    return caller.community_node or caller.may_consent


NEEDS_RIGHT: Final = (
    "this node may not submit consent documents, which decide who sees what; nodes of the community may, and "
    "those to which the right `consent` is given (XDSI_RIGHTS__CONSENT, or the register of nodes)"
)


def translated(
    form: ConsentForm, content: bytes, meanings: Meanings, *, issuers: Iterable[str] = ()
) -> Translation:
    """What a consent says; persons are known by the one issuer that is believed, if it is one.

    Raises
    ------
    NotTranslatable
        Something of it is not understood.
    """
    if len(content) > MOST_BYTES:
        raise NotTranslatable(f"a consent has at most {MOST_BYTES} bytes")
    believed = list(issuers)
    issuer = believed[0] if len(believed) == 1 else ""
    match form:
        case ConsentForm.BPPC:
            return bppc.translated(content, meanings)
        case ConsentForm.APPC:
            return appc.translated(content, meanings, issuer=issuer)
        case ConsentForm.FHIR:
            return fhir_consent.translated(content, issuer=issuer)


# --- on the way to the registry -----------------------------------------------------------------------


def with_content(entry: DocumentEntry, octets: bytes) -> DocumentEntry:
    """`entry` with the content of its document, in place of any that it came with."""
    text = b64encode(octets).decode()
    values = tuple(text[at : at + _OF_A_VALUE] for at in range(0, len(text), _OF_A_VALUE))
    bare = without_content(entry)
    return replace(bare, extra_slots=(*bare.extra_slots, Slot(CONTENT, values)))


def without_content(entry: DocumentEntry) -> DocumentEntry:
    """`entry` as it is registered."""
    slots = tuple(slot for slot in entry.extra_slots if slot.name != CONTENT)
    return entry if slots == entry.extra_slots else replace(entry, extra_slots=slots)


def content_of(entry: DocumentEntry) -> bytes | None:
    """The content that came with `entry`, if any; raises `NotTranslatable` if it cannot be read."""
    text = "".join(value for slot in entry.extra_slots if slot.name == CONTENT for value in slot.values)
    if len(text) > MOST_BYTES * 4 // 3 + 4:
        raise NotTranslatable(f"a consent has at most {MOST_BYTES} bytes")
    try:
        return b64decode(text, validate=True) or None
    except ValueError:
        raise NotTranslatable(f"the slot {CONTENT} is not base64") from None
