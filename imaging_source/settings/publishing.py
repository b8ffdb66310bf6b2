"""Settings of publishing: how this site describes what it shares; `docs/settings.md` is printed from them."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, field_validator

from imaging_source.domain.coding import Coding, Issuers, ManifestForm
from imaging_source.domain.publishing_rules import Trigger
from imaging_source.settings.codes import CodeSetting, code_setting
from imaging_source.settings.reports import ReportSettings
from shared.security.node_list import normal_dn
from shared.settings import Group
from shared.settings.kinds import OptionalOid, Seconds, ae_title

Modality = Annotated[str, Field(pattern=r"^[A-Z0-9_ ]{1,16}$")]


def _sender(text: str) -> str:
    with suppress(ValueError):
        if dn := normal_dn(text):
            return dn
    return ae_title(text)


#: Who sends: an AE title, or the subject DN of a node, as certificates are compared by it.
SenderName = Annotated[str, AfterValidator(_sender)]


_CODE = {"value": "51185008", "scheme": "2.16.840.1.113883.6.96", "display_name": "Chest"}
_IMAGING_STUDY = code_setting("18748-4", "2.16.840.1.113883.6.1", "Diagnostic imaging study")


class PublishingSettings(Group):
    """How manifests are described, and whose identifiers the instances carry."""

    form: ManifestForm = Field(
        default=ManifestForm.XDS_I,
        description="`xds-i` names what there is; `mado` also describes each series and instance (RAD MADO "
        "1.0.0), and is read by XDS-I.b consumers as the other",
    )
    bundle: bool = Field(
        default=False,
        description="register the manifest as a FHIR document Bundle too, as a transformation of the "
        "document; with the form mado",
    )
    modalities: tuple[Modality, ...] = Field(
        default=(),
        examples=[["CT", "MR"]],
        description="studies are published by themselves (auto_publish) that have one of these modalities; "
        "all when empty",
    )
    senders: tuple[SenderName, ...] = Field(
        default=(),
        examples=[["CT01", "CN=pacs,O=Hospital North"]],
        description="studies are published by themselves of which one of these sent an instance: AE titles "
        "that call by C-STORE, subject DNs of nodes that come by STOW-RS; whoever sent them when empty",
    )
    after: Trigger = Field(
        default=Trigger.QUIET,
        description="when studies are published by themselves: `quiet`, when nothing has come for "
        "publish_delay_seconds; `commitment`, when storage commitment of all their instances was answered "
        "with success too; `order`, when a message said that the order of the study is completed, "
        "`report`, when its final report came (XDSI_HL7_PORT). One that is published is not waited "
        "for again when it changes",
    )
    longest_wait_seconds: Seconds = Field(
        default=3600.0,
        ge=0,
        description="time without a new instance after which a study is published that waits for more than "
        "quiet (after)",
    )
    reports: ReportSettings = ReportSettings()
    withheld_patients: Path | None = Field(
        default=None,
        examples=["/etc/xdsi/withheld-patients"],
        description="a file of patients whose studies are published by hand alone, a line each: Patient "
        "ID, or id^^^issuer; it is read each time. While it cannot be read nothing is published by itself",
    )
    institution: str = Field(
        default="",
        max_length=64,
        examples=["Example Hospital"],
        description="name of the institution, for studies that name none",
    )
    class_code: CodeSetting = Field(
        default=code_setting("IMAGES", "1.3.6.1.4.1.19376.1.2.6.1", "Images"),
        description="classCode of manifests",
    )
    type_code: CodeSetting = Field(
        default=_IMAGING_STUDY, description="typeCode of a study without Procedure Code Sequence"
    )
    type_codes: dict[str, CodeSetting] = Field(
        default_factory=dict,
        examples=[{"99LOCAL:CT2": _CODE}],
        description="typeCode by procedure code, written designator:value, for example 99LOCAL:CT2",
    )
    content_type_code: CodeSetting = Field(
        default=_IMAGING_STUDY, description="contentTypeCode of submission sets"
    )
    facility: CodeSetting = Field(
        default=code_setting("22232009", "2.16.840.1.113883.6.96", "Hospital"),
        description="healthcareFacilityTypeCode",
    )
    practice_setting: CodeSetting = Field(
        default=code_setting("309964003", "2.16.840.1.113883.6.96", "Radiology department"),
        description="practiceSettingCode",
    )
    confidentiality: tuple[CodeSetting, ...] = Field(
        default=(code_setting("N", "2.16.840.1.113883.5.25", "normal"),),
        min_length=1,
        description="confidentialityCodes of manifests",
    )
    language: str = Field(
        default="en-US", pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", description="languageCode"
    )
    body_parts: dict[str, CodeSetting] = Field(
        default_factory=dict,
        examples=[{"CHEST": _CODE}],
        description="anatomic region by Body Part Examined, before the table of DICOM PS3.16 annex L",
    )
    timezone: str = Field(
        default="UTC", description="zone of times in instances without Timezone Offset From UTC"
    )
    organization_root: OptionalOid = Field(
        default="",
        max_length=40,
        description="root of the UIDs of manifests; 2.25 and a UUID when empty",
    )
    institution_oid: OptionalOid = Field(
        default="", description="OID of the institution, for authorInstitution"
    )
    patient_id_issuer: OptionalOid = Field(
        default="",
        description="domain of Patient IDs whose issuer the instances do not name; when empty, the affinity"
        " domain: the department's ids are then the patient ids of the registry",
    )
    accession_number_issuer: OptionalOid = Field(
        default="1.3.6.1.4.1.21367.2026.10.33",
        description="domain of accession numbers whose issuer the instances do not name",
    )
    order_placer_issuer: OptionalOid = Field(
        default="1.3.6.1.4.1.21367.2026.10.34",
        description="domain of placer order numbers whose issuer the instances do not name",
    )
    order_filler_issuer: OptionalOid = Field(
        default="1.3.6.1.4.1.21367.2026.10.35",
        description="domain of filler order numbers whose issuer the instances do not name",
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"{name} is no zone; write one of the IANA names, for example Europe/Vienna"
            ) from None
        return name

    @property
    def zone(self) -> ZoneInfo:
        """The zone of local times without offset."""
        return ZoneInfo(self.timezone)

    @cached_property
    def coding(self) -> Coding:
        """The codes as the metadata of a manifest takes them."""
        return Coding(
            class_code=self.class_code.code,
            type_code=self.type_code.code,
            content_type_code=self.content_type_code.code,
            facility=self.facility.code,
            practice_setting=self.practice_setting.code,
            confidentiality=tuple(setting.code for setting in self.confidentiality),
            language=self.language,
            institution_oid=self.institution_oid,
            type_codes={name: setting.code for name, setting in self.type_codes.items()},
            body_parts={name.upper(): setting.code for name, setting in self.body_parts.items()},
            form=self.form,
        )

    def issuers(self, affinity_domain: str) -> Issuers:
        """The domains of identifiers without issuer."""
        return Issuers(
            patient_id=self.patient_id_issuer or affinity_domain,
            accession_number=self.accession_number_issuer,
            placer_order_number=self.order_placer_issuer,
            filler_order_number=self.order_filler_issuer,
        )
