"""Items that stand in sequences of a manifest: codes, and references to instances."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from shared.dicom.elements import element, item
from shared.ebrim.model import Code
from shared.imaging import legal
from shared.imaging.instance import Instance


def code_items(codes: Iterable[Code]) -> Sequence:
    """Items for those codes that a code sequence can name (PS3.3 8.8): without a scheme nobody knows one."""
    return Sequence(code_item(code) for code in codes if _is_named(code))


def _is_named(code: Code) -> bool:
    return bool(legal.plain(code.value)) and (
        code.value.startswith("urn:") or bool(legal.identifier(code.scheme, legal.SHORT))
    )


def code_item(code: Code) -> Dataset:
    """The item of a code sequence (PS3.3 8.8), with a value of any length where it fits."""
    coded = Dataset()
    value = legal.plain(code.value)
    if len(value) <= legal.SHORT:
        coded.CodeValue = value
    elif value.startswith("urn:"):
        coded.URNCodeValue = value
    else:
        coded.LongCodeValue = value
    if code.scheme and "URNCodeValue" not in coded:
        coded.CodingSchemeDesignator = legal.identifier(code.scheme, legal.SHORT)
    coded.CodeMeaning = legal.text(code.display_name) or legal.text(value)
    return coded


def reference_item(instance: Instance) -> Dataset:
    """The item of a Referenced SOP Sequence (PS3.3 10.8)."""
    reference = Dataset()
    reference.ReferencedSOPClassUID = instance.sop_class_uid
    reference.ReferencedSOPInstanceUID = instance.sop_instance_uid
    return reference


def reference(instance: Instance) -> bytes:
    """What `reference_item` says, as octets: a study has hundreds."""
    return item(
        element(0x00081150, "UI", instance.sop_class_uid.encode("ascii"))
        + element(0x00081155, "UI", instance.sop_instance_uid.encode("ascii"))
    )
