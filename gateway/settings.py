"""Settings of the gateway; `docs/settings.md` is printed from them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.settings import HttpUrl, ServiceSettings
from shared.settings.kinds import HomeCommunityId, Oid, Port, Seconds, is_http_url

#: What goes from community to community: queries, documents, images.
CROSSING = ("ITI-38", "ITI-39", "RAD-75")


class GatewaySettings(ServiceSettings):
    """Which communities are asked, whose gateways may ask, and where the actors of our own are."""

    service: ClassVar[str] = "gateway"

    port: Port = Field(8060, description="port to listen on; 0 takes a free one")
    communities: dict[HomeCommunityId, str | dict[str, str]] = Field(
        default_factory=dict,
        examples=[{"urn:oid:2.999.2": "https://west.example/xca/responding"}],
        description="homeCommunityId to the URL of its Responding Gateway, or to one for each of ITI-38, "
        "ITI-39 and RAD-75; answers come in this order, after our own",
    )
    community_gateways: dict[HomeCommunityId, str] = Field(
        default_factory=dict,
        examples=[{"urn:oid:2.999.2": "CN=gateway,O=West"}],
        description="homeCommunityId to the subject DN or SHA-256 of the certificate of its Initiating "
        "Gateway; no other community may ask us, and an assertion must be of the gateway's own",
    )
    responding_gateways: dict[HomeCommunityId, str] = Field(
        default_factory=dict,
        examples=[{"urn:oid:2.999.2": "CN=gateway,O=West"}],
        description="homeCommunityId to the subject DN or SHA-256 of the certificate of its Responding "
        "Gateway; where one is named, no other node is believed; our own registry, repository and imaging "
        "source must be nodes of our community",
    )
    patient_links: Path | None = Field(
        None,
        examples=["/etc/xdsi/patient-links.csv"],
        description="CSV file patient_id,home_community_id,their_patient_id: under which id another "
        "community knows a patient; read again when it changes",
    )
    repositories: dict[Oid, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"2.999.1.2": "https://repository.example/iti43"}],
        description="repositoryUniqueId of our community to ITI-43 endpoint; others are asked at "
        "repository_url",
    )
    imaging_sources: dict[Oid, HttpUrl] = Field(
        default_factory=dict,
        examples=[{"2.999.1.3": "https://source.example/rad69"}],
        description="Retrieve Location UID of our community to RAD-69 endpoint; others are asked at "
        "imaging_source_url",
    )
    imaging_source_url: HttpUrl = Field(
        "http://127.0.0.1:8030/xds/imaging-source", description="RAD-69 endpoint of the imaging source nearby"
    )
    answer_seconds: Seconds = Field(
        20.0, gt=0, le=300, description="longest that a community is waited for, until its answer begins"
    )
    relays: int = Field(
        32,
        ge=1,
        le=64,
        description="retrievals that are relayed at once; one node has at most as many as are still free",
    )

    def repository_endpoint(self, repository_unique_id: str) -> str:
        """The ITI-43 endpoint of a repository of our community."""
        return self.repositories.get(repository_unique_id, self.repository_url)

    def imaging_source_endpoint(self, retrieve_location_uid: str) -> str:
        """The RAD-69 endpoint of an imaging source of our community."""
        return self.imaging_sources.get(retrieve_location_uid, self.imaging_source_url)

    def named_nodes(self, right: str) -> tuple[str, ...]:
        """The gateways of other communities cross to us; the other rights are as everywhere."""
        return tuple(self.community_gateways.values()) if right == "cross" else super().named_nodes(right)

    @property
    def gateways(self) -> dict[str, dict[str, str]]:
        """Of each other community the URLs of its Responding Gateway, by the number of the transaction."""
        return {
            home: dict.fromkeys(CROSSING, urls) if isinstance(urls, str) else urls
            for home, urls in self.communities.items()
        }

    @property
    def own_actors(self) -> tuple[str, ...]:
        """The endpoints of our own community."""
        return (
            *self.registry_endpoints,
            self.repository_url,
            self.imaging_source_url,
            *self.repositories.values(),
            *self.imaging_sources.values(),
        )

    @property
    def peers(self) -> tuple[str, ...]:
        """Every endpoint that this gateway may connect to."""
        return (*self.own_actors, *(url for urls in self.gateways.values() for url in urls.values()))

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        problems = super().problems()
        problems += [
            f"XDSI_RESPONDING_GATEWAYS: {home} is not among XDSI_COMMUNITIES; name its URL there"
            for home in self.responding_gateways
            if home not in self.communities
        ]
        if self.home_community_id in self.communities:
            problems.append(
                "XDSI_COMMUNITIES: names our own homeCommunityId; give each community one of its own in "
                "XDSI_HOME_COMMUNITY_ID"
            )
        problems += [
            f"XDSI_COMMUNITIES: {home} has an address for {number}; {', '.join(CROSSING)} would be right"
            for home, urls in self.gateways.items()
            for number in urls
            if number not in CROSSING
        ]
        problems += [
            f"XDSI_COMMUNITIES: {home}: {url!r} is no URL; write https://host:port/path"
            for home, urls in self.gateways.items()
            for url in dict.fromkeys(urls.values())
            if not is_http_url(url)
        ]
        if self.community_gateways and not self.tls.enabled:
            problems.append(
                "XDSI_COMMUNITY_GATEWAYS: certificates prove nodes with TLS alone; set XDSI_TLS__CERTIFICATE"
            )
        if self.patient_links is not None and not self.patient_links.is_file():
            problems.append(f"XDSI_PATIENT_LINKS: {self.patient_links} is not a file; name a CSV file")
        return problems


SETTINGS = GatewaySettings
