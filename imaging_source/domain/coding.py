"""What a site says of all that it publishes: its codes and names, its issuers, the form of its manifests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from imaging_source.domain.imaging_reports import ReportKind
from shared.ebrim.model import Code


class NotPublishable(ValueError):
    """The study cannot be published as it is; the text says why, and what would help. It names no patient."""


class ManifestForm(StrEnum):
    """What a manifest says beside what there is; the value is its name in settings."""

    XDS_I = "xds-i"
    MADO = "mado"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """The codes and names of this site, from its settings."""

    class_code: Code
    type_code: Code
    content_type_code: Code
    facility: Code
    practice_setting: Code
    confidentiality: tuple[Code, ...]
    language: str = "en-US"
    institution_oid: str = ""
    device: str = "xdsi imaging source"
    # A procedure code, as `designator:value`, by the typeCode that stands for it.
    type_codes: Mapping[str, Code] = field(default_factory=dict)
    body_parts: Mapping[str, Code] = field(default_factory=dict)
    form: ManifestForm = ManifestForm.XDS_I


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuers:
    """OIDs of the domains whose identifiers have no issuer in the instances; empty ones are left out."""

    patient_id: str = ""
    accession_number: str = ""
    placer_order_number: str = ""
    filler_order_number: str = ""


NO_ISSUERS: Final = Issuers()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCoding:
    """The codes of reports at this site, from its settings; `type_codes` by `scheme:code` of a procedure."""

    class_code: Code
    type_code: Code
    type_codes: Mapping[str, Code]
    formats: Mapping[ReportKind, Code]
