"""Settings of the consumer; `docs/settings.md` is printed from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from consumer.domain.destination import Destination, Kind, WrongDestination
from shared.settings import HttpUrl, ServiceSettings, SignInSettings, is_loopback
from shared.settings.kinds import AeTitle, Bytes, Days, Oid, Origin, Port, Seconds, Spelling

DestinationName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$")]


def _archive(text: str) -> str:
    try:
        destination = Destination.of(text)
    except WrongDestination as error:
        raise ValueError(f"is no archive; {error}") from None
    if not destination.is_archive:
        raise ValueError("is a folder or a file; name an archive: dicoms://AETITLE@host:port, or https://…")
    if not is_loopback(destination.host) and not text.startswith(("dicoms://", "https://")):
        raise ValueError("is on another machine, and images would go in clear; name dicoms:// or https://")
    return text


def _dicom_archive(text: str) -> str:
    if Destination.of(_archive(text)).kind is not Kind.C_STORE:
        raise ValueError("moves nothing; name dicom://AETITLE@host:port, or dicoms://… for TLS")
    return text


TakeOverUrl = Annotated[str, AfterValidator(_archive)]
ArchiveAddress = Annotated[str, AfterValidator(_dicom_archive), Spelling("dicom://ARCHIVE@127.0.0.1:104")]


class ConsumerSettings(ServiceSettings):
    """Where a consumer looks, and whom it may ask; ids in a manifest are data from outside and open no
    connection."""

    service: ClassVar[str] = "consumer"

    port: Port = Field(8040, description="port to listen on; 0 takes a free one")
    sign_in: SignInSettings = SignInSettings()
    repositories: dict[Oid, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"2.999.1.2": "https://repository.example/iti43"}],
        description="repositoryUniqueId to ITI-43 endpoint; other ids are asked at repository_url",
    )
    imaging_sources: dict[Oid, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"2.999.1.3": "https://source.example/rad69"}],
        description="Retrieve Location UID to RAD-69 endpoint; others are asked at imaging_source_url",
    )
    imaging_source_url: HttpUrl = Field(
        "http://127.0.0.1:8030/xds/imaging-source", description="RAD-69 endpoint of the imaging source nearby"
    )
    gateway_url: HttpUrl | None = Field(
        None,
        description="Initiating Gateway, …/xca/initiating: when set, it is asked for the studies of a "
        "patient, and for what other communities have",
    )
    dicomweb_peers: tuple[Origin, ...] = Field(
        ("http://127.0.0.1:8030",),
        description="origins (scheme://host:port) whose Retrieve URL a manifest may name",
    )
    wado_uris: dict[AeTitle, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"ARCHIVE": "https://archive.example/wado"}],
        description="Retrieve AE Title to WADO-URI endpoint (RAD-55), for what comes by no other transaction",
    )
    move_archives: dict[AeTitle, ArchiveAddress] = Field(
        default_factory=dict,
        examples=[{"ARCHIVE": "dicoms://ARCHIVE@archive.example:2762"}],
        description="Retrieve AE Title to archive that is asked by C-MOVE (RAD-16), for what nothing else "
        "brings; it must know our move_ae_title and move_port",
    )
    move_ae_title: AeTitle = Field("XDSI_CONSUMER", description="our AE title, to which archives move")
    move_port: Port = Field(
        11113, description="port at which we listen while an archive moves; without TLS on loopback"
    )
    parallel: int = Field(4, ge=1, le=32, description="retrievals under way at once")
    instances_per_request: int = Field(100, ge=1, le=5_000, description="instances asked for in one RAD-69")

    open_references: int = Field(
        10_000,
        ge=1,
        le=100_000,
        description="instances of a manifest that the service opens for a person or a program",
    )
    fetch_references: int = Field(
        100_000, ge=1, le=1_000_000, description="instances of a manifest that `xdsi fetch` fetches"
    )
    max_instance_bytes: Bytes = Field(4 * 1024**3, ge=1024, description="longest instance that is taken")
    answer_seconds: Seconds = Field(
        30.0, gt=0, le=300, description="longest that registry and repository are waited for by the service"
    )
    instance_seconds: Seconds = Field(
        600.0, gt=0, le=3600, description="longest that one instance may take to arrive"
    )
    image_cache_bytes: Bytes = Field(
        4 * 1024**3,
        ge=1024**2,
        description="disk space for images that DICOM web services fetch; sealed, with keys in memory alone",
    )
    image_cache_seconds: Seconds = Field(
        900.0, gt=0, le=86_400, description="time after its last use after which such an image is forgotten"
    )
    take_over_to: dict[DestinationName, TakeOverUrl] = Field(
        default_factory=dict,
        examples=[{"PACS": "dicoms://PACS@pacs.example:11112"}],
        description="archives of the own hospital into which studies are taken over from the pages, each by "
        "the name that people choose it by: dicom://AETITLE@host:port (this machine alone) or dicoms://…, or "
        "https://host/dicomweb (STOW-RS)",
    )
    take_over_days: Days = Field(
        7, gt=0, description="days after which an order from the pages, and its ZIP, are removed here"
    )
    pix_url: HttpUrl | None = Field(
        None,
        examples=["https://mpi.example/fhir"],
        description="base of the FHIR service of the own hospital's PIX manager (ITI-83): asked who a "
        "patient is here when a study is taken over",
    )
    pix_domain: Oid | None = Field(
        None,
        examples=["2.999.1.20"],
        description="domain (assigning authority) of the own hospital's patient ids, in which the PIX "
        "manager is asked for one; needed with pix_url",
    )
    fetches: int = Field(
        16, ge=1, le=256, description="manifests and instances that the service fetches at once"
    )

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        problems = super().problems()
        if (self.pix_url is None) is not (self.pix_domain is None):
            problems.append(
                "XDSI_CONSUMER__PIX_URL and XDSI_CONSUMER__PIX_DOMAIN: neither is of use alone; set both"
            )
        return problems

    def repository_endpoint(self, repository_unique_id: str) -> str:
        """The ITI-43 endpoint of a repository."""
        return self.repositories.get(repository_unique_id, self.repository_url)

    def imaging_source_endpoint(self, retrieve_location_uid: str) -> str:
        """The RAD-69 endpoint of an imaging source."""
        return self.imaging_sources.get(retrieve_location_uid, self.imaging_source_url)

    def across(self, home_community_id: str) -> str | None:
        """The gateway that leads to this community; None for our own, and where no gateway is set."""
        return self.gateway_url if home_community_id not in ("", self.home_community_id) else None

    @property
    def take_over_folder(self) -> Path:
        """Where orders from the pages are, a folder for each person."""
        return self.folder / "take-overs"

    @property
    def dicomweb_url(self) -> str:
        """Base URL of our own DICOM web services as others reach it, without a slash at its end."""
        scheme = "https" if self.tls.enabled else "http"
        base = self.public_url or f"{scheme}://{self.host}:{self.port}"
        return f"{base.rstrip('/')}/dicomweb"

    @property
    def peers(self) -> tuple[str, ...]:
        """Every endpoint that this consumer may connect to."""
        return (
            *self.registry_endpoints,
            self.repository_url,
            self.imaging_source_url,
            *self.repositories.values(),
            *self.imaging_sources.values(),
            *self.dicomweb_peers,
            *self.wado_uris.values(),
            *filter(None, (self.gateway_url, self.pix_url)),
        )


SETTINGS = ConsumerSettings
