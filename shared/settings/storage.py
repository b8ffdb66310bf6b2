"""Where a service keeps contents, documents or instances: in files, or in an S3-compatible store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import Field

from shared.settings.group import Group, derived, secret
from shared.settings.kinds import Bytes, Days, HttpUrl, StorageUrl
from shared.settings.service import ServiceSettings


class S3Settings(Group):
    """The S3-compatible store behind an `s3://` URL."""

    endpoint: HttpUrl | None = derived("URL of the store", otherwise="that of AWS for the region")
    region: str = Field("us-east-1", description="region, which is part of every signature")
    access_key: str | None = secret("access key id", examples=["AKIA…"])
    secret_key: str | None = secret("secret access key", examples=["…"])
    trust: Path | None = Field(
        None,
        examples=["/etc/xdsi/store.pem"],
        description="PEM file with the authority of the store's certificate",
    )
    allow_http: bool = Field(False, description="whether the endpoint may be http://, for tests and loopback")


class StorageSettings(ServiceSettings):
    """What a service that keeps contents is told of its storage."""

    storage_url: StorageUrl | None = derived(
        "where documents and instances are kept: file:///folder or s3://bucket/prefix",
        otherwise="files below `XDSI_DATA`",
    )
    s3: S3Settings = S3Settings()
    scrub_days: Days | None = Field(
        None,
        gt=0,
        examples=[30],
        description="days between the end of a scrub and the next, in which the service compares all that it "
        "keeps with its digests and repairs what it can; none without (xdsi db verify does it once)",
    )
    scrub_bytes_per_second: Bytes = Field(
        20 * 1024**2, ge=0, description="most bytes that such a scrub reads in a second; 0 is no limit"
    )

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        problems = super().problems()
        if self.s3.endpoint and self.s3.endpoint.startswith("http:") and not self.s3.allow_http:
            problems.append(
                f"XDSI_S3__ENDPOINT: {self.s3.endpoint} is not https; set XDSI_S3__ALLOW_HTTP on loopback "
                "only"
            )
        if bool(self.s3.access_key) != bool(self.s3.secret_key):
            present, absent = ("ACCESS", "SECRET") if self.s3.access_key else ("SECRET", "ACCESS")
            problems.append(
                f"XDSI_S3__{present}_KEY: is set without the other key; set XDSI_S3__{absent}_KEY too, or "
                "neither where the machine has a role of its own"
            )
        return problems


def storage_folder(url: str) -> Path | None:
    """The folder of `file:///folder`; None for what is no URL of files."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def is_object_store(url: str | None) -> bool:
    """Whether `url` is that of an S3-compatible store."""
    return urlsplit(url or "").scheme == "s3"
