"""Settings of reports that come by messages and are published beside their images; `docs/settings.md` is
printed from them."""

from __future__ import annotations

from functools import cached_property

from pydantic import Field

from imaging_source.domain.coding import ReportCoding
from imaging_source.domain.imaging_reports import ReportKind
from imaging_source.settings.codes import CodeSetting, code_setting
from shared.settings import Group

#: Of IHE RAD; the newest codes have another scheme, and consumers take both (verify).
_RAD = "1.3.6.1.4.1.19376.1.2.3"
_EXAMPLE = {"value": "18748-4", "scheme": "2.16.840.1.113883.6.1", "display_name": "CT report"}
_FORMATS = {
    ReportKind.PDF: code_setting("urn:ihe:rad:PDF", _RAD, "PDF report"),
    ReportKind.TEXT: code_setting("urn:ihe:rad:TEXT", _RAD, "CDA wrapped text report"),
    ReportKind.CDA: code_setting(
        "urn:ihe:rad:CDA:ImagingReportStructuredHeadings:2013", _RAD, "CDA imaging report"
    ),
    # XDS-SD (verify).
    ReportKind.CDA_PDF: code_setting("urn:ihe:iti:xds-sd:pdf:2008", _RAD, "CDA wrapped PDF"),
}


class ReportSettings(Group):
    """Reports that messages of the department bring, and how they are described."""

    publish: bool = Field(
        default=True,
        description="reports that come by HL7 (XDSI_HL7_PORT; ORU^R01, MDM) are registered beside the "
        "manifest of their study; without it they say that a report came, and nothing of them is kept",
    )
    preliminary: bool = Field(
        default=False,
        description="preliminary reports are published too, until the final one takes their place; nothing "
        "of them is kept without",
    )
    append: bool = Field(
        default=True,
        description="reports are registered as addenda (APND) to the manifest, beside the ids that both "
        "name; a registry deprecates them with a manifest that is replaced, and they are registered again",
    )
    class_code: CodeSetting = Field(
        default=code_setting("REPORTS", "1.3.6.1.4.1.19376.1.2.6.1", "Reports"),
        description="classCode of reports",
    )
    type_code: CodeSetting = Field(
        default=code_setting("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study"),
        description="typeCode of reports that name no code of their own",
    )
    type_codes: dict[str, CodeSetting] = Field(
        default_factory=dict,
        examples=[{"99N:CTHEAD": _EXAMPLE}],
        description="typeCode by the procedure of OBR-4, written scheme:code, before what the document says",
    )
    formats: dict[ReportKind, CodeSetting] = Field(
        default_factory=dict,
        examples=[{"pdf": {"value": "urn:ihe:rad:PDF", "scheme": _RAD, "display_name": "PDF report"}}],
        description="formatCode by what the document is: pdf, text (a text that is wrapped in CDA), cda, "
        "cda-pdf; those of IHE without",
    )

    @cached_property
    def coding(self) -> ReportCoding:
        """The codes as the metadata of a report takes them."""
        return ReportCoding(
            class_code=self.class_code.code,
            type_code=self.type_code.code,
            type_codes={name: setting.code for name, setting in self.type_codes.items()},
            formats={kind: setting.code for kind, setting in (_FORMATS | self.formats).items()},
        )
