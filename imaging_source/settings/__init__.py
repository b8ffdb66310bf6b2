"""Settings of the imaging source; `docs/settings.md` is printed from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from imaging_source.domain.coding import ManifestForm
from imaging_source.domain.corrections import CorrectionPolicy
from imaging_source.domain.patient_table import Unlisted
from imaging_source.domain.publishing_rules import Trigger
from imaging_source.settings.archives import ArchiveSettings, Retrieval
from imaging_source.settings.entities import DimseService, EntitySettings
from imaging_source.settings.publishing import PublishingSettings
from shared.dicom.character_sets import encodings_of
from shared.dicom.data_set import Limits
from shared.hl7v2.message import CHARSETS, DEFAULT_CHARSET, encoding_of
from shared.settings import SignInSettings, StorageSettings, is_loopback
from shared.settings.kinds import AeTitle, Bytes, CodeWithScheme, Days, Oid, Port, Seconds, StorageUrl
from shared.settings.storage import is_object_store

ArchiveName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]

#: The setting of the table of application entities, as it is told.
ENTITIES_SETTING: Final = "XDSI_APPLICATION_ENTITIES"


class ImagingSourceSettings(StorageSettings):
    """Read once at start; the imaging source refuses to start on settings it cannot read."""

    service: ClassVar[str] = "imaging_source"

    port: Port = Field(8030, description="port to listen on; 0 takes a free one")
    sign_in: SignInSettings = SignInSettings()
    operator_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["OPERATOR^^2.999.40.1"]],
        description="roles (code^^scheme) whose users may open the pages for operators and act there, beside "
        "nodes of the community that come without a user",
    )
    retrieve_location_uid: Oid = Field(
        "1.3.6.1.4.1.21367.2026.10.30",
        description="Retrieve Location UID: RepositoryUniqueId of RAD-69 requests to this source",
    )
    source_id: Oid = Field(
        "1.3.6.1.4.1.21367.2026.10.31",
        description="sourceId of the submission sets that this source publishes",
    )
    auto_publish: bool = Field(False, description="publish a manifest when a study has stopped growing")
    publish_delay_seconds: Seconds = Field(
        60.0, ge=0, description="time without a new instance after which a study has stopped growing"
    )

    drift_checks_per_minute: int = Field(
        60,
        ge=0,
        le=60_000,
        description="published manifests that are compared with the archive and the registry in a minute, and"
        " mended; 0 for none",
    )

    publishing: PublishingSettings = PublishingSettings()

    ae_title: AeTitle = Field("XDSI", description="AE title: called AE and Retrieve AE Title")
    hl7_port: Port | None = Field(
        None,
        examples=[2577],
        description="port for messages of HL7 v2 by MLLP: the state of orders (ORM, OMG, OMI), that "
        "reports came (ORU, MDM), and patients who are corrected or merged (ADT); 0 takes a free "
        "one, and none listens without",
    )
    hl7_frame_bytes: Bytes = Field(
        16 * 1024**2, ge=1024, description="longest message of HL7, then AR and close"
    )
    hl7_charset: str = Field(
        DEFAULT_CHARSET,
        description="character set of messages that name none in MSH-18 and are not UTF-8, as MSH-18 spells "
        "it",
    )
    dimse_port: Port = Field(11112, description="port for DIMSE; 0 takes a free one")
    calling_ae_titles: tuple[AeTitle, ...] = Field(
        (),
        examples=[["CT01", "PACS"]],
        description="AE titles that may call beside those of XDSI_APPLICATION_ENTITIES; any may when both "
        "are empty (other addresses than loopback need TLS)",
    )
    application_entities: dict[AeTitle, EntitySettings] = Field(
        default_factory=dict,
        examples=[
            {
                "WORKSTATION": {
                    "host": "ws.example",
                    "port": 11112,
                    "certificate": "CN=ws,O=Hospital North",
                    "services": ["find", "move"],
                    "destinations": ["WORKSTATION"],
                }
            }
        ],
        description="AE titles that are known, each with the keys host, port (104), tls (true), certificate "
        "(subject DN or SHA-256 of its node), services (store, find, move, get, commit), destinations (AE "
        "titles to which it may move) and same_association (false: results of storage commitment go by an "
        "association of ours). One that stands here may do what stands here and nothing else, and "
        "needs no user's assertion; one that does not may do what its node may",
    )
    relational_queries: bool = Field(
        False,
        description="C-FIND without the unique keys above its level is answered, although relational queries "
        "were not negotiated",
    )
    commitment_grace_seconds: Seconds = Field(
        600.0,
        ge=0,
        description="how long storage commitment waits for instances that were not stored when it was asked",
    )
    max_matches: int = Field(10_000, ge=1, le=100_000, description="matches of one C-FIND")
    max_associations: int = Field(64, ge=1, description="associations at a time")
    max_associations_per_peer: int = Field(8, ge=1, description="associations at a time from one address")
    max_pdu_bytes: Bytes = Field(
        128 * 1024, ge=16 * 1024, le=1024**2, description="longest PDU offered in negotiation"
    )
    dimse_idle_seconds: Seconds = Field(
        30.0, gt=0, description="silence after which an association is aborted"
    )

    max_instance_bytes: Bytes = Field(4 * 1024**3, ge=1024, description="longest instance accepted")
    max_inflated_bytes: Bytes = Field(
        4 * 1024**3, ge=1024, description="longest data set that a deflated instance may inflate to, on disk"
    )
    max_header_bytes: Bytes = Field(
        32 * 1024**2,
        ge=1024**2,
        description="most memory for the elements of one instance; what is long stays in its file",
    )
    max_sequence_depth: int = Field(32, ge=1, le=100, description="deepest nesting of sequences accepted")
    max_elements: int = Field(
        100_000_000,
        ge=1_000,
        description="most elements and items of one instance; each is looked at",
    )
    keep_preamble: bool = Field(
        False,
        description="keep the 128 bytes before DICM as they came, by which a file may be a TIFF as well;"
        " they are zeroed otherwise",
    )
    default_character_set: str = Field(
        "",
        examples=["ISO_IR 100"],
        description="Specific Character Set of instances that name none, as ISO_IR 100; without it they are"
        " UTF-8 where they can be, else ISO 8859-1, with a warning",
    )
    max_instances_per_request: int = Field(5_000, ge=1, description="instances in one STOW-RS request")
    corrections: CorrectionPolicy = Field(
        CorrectionPolicy.REFUSE,
        description="what comes of another data set under a known SOP Instance UID: `refuse`; `keep-first`"
        " keeps it beside the first, which is given as before, and warns its sender; `replace` lets it take"
        " the place, where class, study, series and patient are the same, and keeps the first beside it",
    )
    local_patients: Path | None = Field(
        None,
        examples=["/etc/xdsi/patients.json"],
        description="who patients of other hospitals are here, a JSON file that is read again when changed: "
        '{"patients": [{"foreign_id": …, "foreign_issuer": …, "patient_id": …, "issuer": …}]}, with name, '
        "birth_date and sex where they differ. Their instances are kept under these identifiers, with the "
        "replaced ones in the Original Attributes Sequence, and what came is kept beside",
    )
    unlisted_patients: Unlisted = Field(
        Unlisted.KEEP,
        description="what comes of an instance whose Patient ID another domain issued, and which "
        "local_patients does not hold: `keep` it as it is, or `refuse` it",
    )
    own_patient_issuers: tuple[str, ...] = Field(
        (),
        examples=[["HOSPITAL-NORTH"]],
        description="issuers of Patient IDs that are ours, by name or OID, beside the affinity domain and "
        "XDSI_IMAGING_SOURCE__PUBLISHING__PATIENT_ID_ISSUER",
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        examples=[3650],
        description="days after its last instance came when a study is erased with its manifests; never"
        " without",
    )
    cold_storage_url: StorageUrl | None = Field(
        None,
        description="where instances are moved that are older than cold_after_days, as s3://bucket/prefix or "
        "file:///folder of a larger disk, which is mounted; they are given as before. Never without, and "
        "only where instances are files",
    )
    cold_after_days: Days = Field(
        365, gt=0, description="days after it came when an instance is moved to cold_storage_url"
    )
    fuzzy_names: bool = Field(
        True,
        description="names of persons by the beginnings of their words, without accents, where a search asks"
        " for fuzzymatching; without it they are matched as they are written, with a warning",
    )
    archives: dict[ArchiveName, ArchiveSettings] = Field(
        default_factory=dict,
        examples=[{"pacs": {"url": "https://pacs.example/dicom-web"}}],
        description="archives that this source fronts, in the order in which they are asked, each by a name "
        "with the key url (the base of its DICOM web services, with user:password@ where it wants them), or "
        "ae_title (an entity of XDSI_APPLICATION_ENTITIES with an address) and retrieve (get; move: to this "
        "source, which the archive must know as a destination, and where it needs store): what they have is "
        "searched, published and given as if it were here, and is not kept",
    )
    archive_cache_bytes: Bytes = Field(
        20 * 1024**3, ge=0, description="disk space for copies of what archives keep"
    )
    archive_check_seconds: Seconds = Field(
        60.0,
        ge=0,
        description="time before a study that is asked for again is compared with its archive again",
    )
    archive_answer_seconds: Seconds = Field(
        60.0, gt=0, description="time that an archive has for each instance"
    )
    transcode_cache_bytes: Bytes = Field(
        4 * 1024**3,
        ge=0,
        description="disk space for instances in another transfer syntax, and as much again for instances of"
        " an object store that are read as files",
    )

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        return [
            *super().problems(),
            *self._problems_of_tiers(),
            *self._problems_of_archives(),
            *self._problems_of_publishing(),
            *(
                f"{ENTITIES_SETTING}: {title}: {problem}"
                for title, entity in self.application_entities.items()
                for problem in self._problems_of(entity)
            ),
        ]

    def _problems_of_tiers(self) -> Iterator[str]:
        if self.cold_storage_url is None:
            return
        if self.storage_url is not None and is_object_store(self.storage_url):
            yield (
                "XDSI_COLD_STORAGE_URL: instances are objects already (XDSI_STORAGE_URL); let the store move "
                "them, or keep files"
            )
        if self.cold_storage_url == (self.storage_url or self.folder.absolute().as_uri()):
            yield "XDSI_COLD_STORAGE_URL: is where instances come in; name another place"

    def _problems_of_publishing(self) -> Iterator[str]:
        if self.publishing.bundle and self.publishing.form is not ManifestForm.MADO:
            yield (
                "XDSI_IMAGING_SOURCE__PUBLISHING__BUNDLE: a Bundle is of manifests with description; set "
                "XDSI_IMAGING_SOURCE__PUBLISHING__FORM=mado"
            )

        if self.publishing.after in (Trigger.ORDER, Trigger.REPORT) and self.hl7_port is None:
            yield (
                f"XDSI_IMAGING_SOURCE__PUBLISHING__AFTER: {self.publishing.after} is said by messages of "
                "HL7; set XDSI_IMAGING_SOURCE__HL7_PORT"
            )

    def _problems_of_archives(self) -> Iterator[str]:
        if not self.archives:
            return
        if self.cold_storage_url is not None or (
            self.storage_url is not None and is_object_store(self.storage_url)
        ):
            yield (
                "XDSI_ARCHIVES: a source that fronts archives keeps its own instances as files in one place; "
                "leave XDSI_COLD_STORAGE_URL out, and let XDSI_STORAGE_URL be a folder"
            )
        for name, archive in self.archives.items():
            parts = urlsplit(archive.address)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                yield f"XDSI_ARCHIVES: {name}: images would come in clear; name it as https://…"
            if archive.ae_title is not None:
                yield from self._problems_of_archive(name, archive, archive.ae_title)

    def _problems_of_archive(self, name: str, archive: ArchiveSettings, title: str) -> Iterator[str]:
        entity = self.application_entities.get(title)
        if entity is None or entity.host is None:
            yield f"XDSI_ARCHIVES: {name}: {title} has no address; add it to {ENTITIES_SETTING} with host"
        elif archive.retrieve is Retrieval.MOVE and DimseService.STORE not in entity.services:
            yield f"XDSI_ARCHIVES: {name}: what {title} moves here is stored; give it the service store"

    def _problems_of(self, entity: EntitySettings) -> Iterator[str]:
        for title in entity.destinations:
            destination = self.application_entities.get(title)
            if destination is None or destination.host is None:
                yield f"the destination {title} has no address; add it to the table with host and port"
        if DimseService.COMMIT in entity.services and entity.host is None:
            yield "commit needs the address to which results are reported; name host and port"
        if entity.port == 0:
            yield "port 0 cannot be called; name the port on which it listens"
        if entity.host is not None and not self.secures(entity) and not is_loopback(entity.host):
            yield (
                f"{entity.host} is not loopback and would be called without TLS; set up TLS here, and do not "
                "switch it off there"
            )

    def secures(self, entity: EntitySettings) -> bool:
        """Whether `entity` is called by TLS."""
        return entity.tls and self.tls.enabled

    @field_validator("hl7_charset")
    @classmethod
    def _known_charset(cls, name: str) -> str:
        if encoding_of(name) is None:
            raise ValueError(f"not read here; known: {', '.join(CHARSETS)}")
        return name

    @field_validator("default_character_set")
    @classmethod
    def _known_character_set(cls, value: str) -> str:
        if encodings_of(value.encode())[1] is not None:
            raise ValueError("is no Specific Character Set of PS3.3 C.12.1.1.2, such as ISO_IR 100")
        return value

    @property
    def intake_limits(self) -> Limits:
        """What one instance may ask of us."""
        return Limits(
            depth=self.max_sequence_depth,
            elements=self.max_elements,
            kept=self.max_header_bytes,
            inflated=self.max_inflated_bytes,
        )

    @property
    def own_issuers(self) -> set[str]:
        """Who issues Patient IDs of ours, by name or OID."""
        ids = {self.affinity_domain, self.publishing.issuers(self.affinity_domain).patient_id}
        return ids.union(self.own_patient_issuers)

    @property
    def character_set(self) -> Sequence[str]:
        """The encodings of instances that name no Specific Character Set."""
        return encodings_of(self.default_character_set.encode())[0]

    @property
    def dicomweb_url(self) -> str:
        """Base URL of WADO-RS, QIDO-RS and STOW-RS as others reach it, without a slash at its end."""
        scheme = "https" if self.tls.enabled else "http"
        base = self.public_url or f"{scheme}://{self.host}:{self.port}"
        return f"{base.rstrip('/')}/dicomweb"


SETTINGS = ImagingSourceSettings
