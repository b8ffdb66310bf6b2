"""The codes and media types that an affinity domain allows (ITI TF-3 4.2.3.1.1).

A file in TOML or JSON names, for each attribute that is restricted, the allowed values: codes as
`code^^scheme`, media types as they are.

    classCode = ["IMAGES^^1.3.6.1.4.1.19376.1.2.6.1"]
    mimeType = ["application/dicom"]

An attribute that it does not name may have any value, and without a file every one. Codes are compared by
value and scheme, media types without their parameters and in any case.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from registry.domain.submission import SubmissionIndex
from shared.ebrim.identifiers import nfc
from shared.ebrim.model import Association, Code, DocumentEntry, Folder, RegistryObject, SubmissionSet
from shared.errors import MetadataError, XdsError

MIME_TYPE = "mimeType"

_DOCUMENT_ENTRY: Mapping[str, Callable[[DocumentEntry], Iterable[Code]]] = {
    "classCode": lambda entry: (entry.class_code,),
    "typeCode": lambda entry: (entry.type_code,),
    "formatCode": lambda entry: (entry.format_code,),
    "healthcareFacilityTypeCode": lambda entry: (entry.healthcare_facility_type_code,),
    "practiceSettingCode": lambda entry: (entry.practice_setting_code,),
    "confidentialityCode": lambda entry: entry.confidentiality_codes,
    "eventCodeList": lambda entry: entry.event_codes,
}
_CONTENT_TYPE, _FOLDER_CODES, _DOCUMENTATION = "contentTypeCode", "codeList", "associationDocumentation"

ATTRIBUTES = (*_DOCUMENT_ENTRY, MIME_TYPE, _CONTENT_TYPE, _FOLDER_CODES, _DOCUMENTATION)


class ValueSetError(ValueError):
    """The file of value sets cannot be used; the text says what in it is wrong."""


@dataclass(frozen=True, slots=True)
class ValueSets:
    """The allowed values by attribute, in the spelling by which they are compared; none restricts nothing."""

    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def errors(self, message: SubmissionIndex) -> Iterator[XdsError]:
        """One error for each value of `message` that its value set does not hold."""
        if not self.allowed:
            return
        submission = message.submission
        things: tuple[RegistryObject, ...] = (
            submission.submission_set,
            *submission.document_entries,
            *submission.folders,
            *submission.associations,
        )
        for thing in things:
            for attribute, value in _values(thing):
                allowed = self.allowed.get(attribute)
                if allowed is not None and _compared(attribute, value) not in allowed:
                    yield MetadataError(
                        f"{attribute} {value} is not in the value set of this affinity domain",
                        location=f"{thing.entry_uuid}/{attribute}",
                    )


ANYTHING = ValueSets()


def _values(thing: RegistryObject) -> Iterator[tuple[str, str]]:
    match thing:
        case DocumentEntry():
            for attribute, of in _DOCUMENT_ENTRY.items():
                yield from _spelled(attribute, of(thing))
            yield MIME_TYPE, thing.mime_type
        case SubmissionSet():
            yield _CONTENT_TYPE, str(thing.content_type_code)
        case Folder():
            yield from _spelled(_FOLDER_CODES, thing.codes)
        case Association():
            yield from _spelled(_DOCUMENTATION, thing.documentation)


def _spelled(attribute: str, codes: Iterable[Code]) -> Iterator[tuple[str, str]]:
    return ((attribute, str(code)) for code in codes)


def _compared(attribute: str, value: str) -> str:
    if attribute == MIME_TYPE:
        return value.partition(";")[0].strip().lower()
    return nfc(value)


# --- the file -----------------------------------------------------------------------------------------


def read_value_sets(path: Path) -> ValueSets:
    """Read a file, JSON when its name ends so and TOML otherwise.

    Raises
    ------
    ValueSetError
        It cannot be read, or says what it cannot mean.
    """
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueSetError(f"{path} cannot be read as a file of value sets: {error}") from None
    return value_sets_of(content)


def value_sets_of(content: Any) -> ValueSets:
    """The value sets that a file's content describes; raises `ValueSetError`."""
    if not isinstance(content, dict):
        raise ValueSetError("a file of value sets is a table of attributes and their lists of values")
    return ValueSets({name: frozenset(_listed(name, values)) for name, values in content.items()})


def _listed(attribute: str, values: Any) -> Iterator[str]:
    if attribute not in ATTRIBUTES:
        raise ValueSetError(f"{attribute} is no attribute with a value set; known: {', '.join(ATTRIBUTES)}")
    if not isinstance(values, list) or not values:
        raise ValueSetError(f"{attribute} needs a list of values; leave it out to allow any")
    for value in values:
        if not isinstance(value, str) or not _is_value(attribute, value):
            form = "type/subtype" if attribute == MIME_TYPE else "code^^scheme"
            raise ValueSetError(f"{attribute}: {value!r} must be written {form}")
        yield _compared(attribute, value)


def _is_value(attribute: str, value: str) -> bool:
    before, _, after = value.partition("/" if attribute == MIME_TYPE else "^^")
    return bool(before and after)
