"""Settings of the repository; `docs/settings.md` is printed from them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shared.settings import HttpUrl, StorageSettings, secret
from shared.settings.kinds import CodeWithScheme, Days, Oid, Port, Seconds, StorageUrl


class RepositorySettings(StorageSettings):
    """Read once at start; the repository refuses to start on settings it cannot read."""

    service: ClassVar[str] = "repository"

    port: Port = Field(8020, description="port to listen on; 0 takes a free one")
    repository_unique_id: Oid = Field(
        "1.3.6.1.4.1.21367.2026.10.20",
        description="repositoryUniqueId: under this OID documents are registered and retrieved",
    )
    replica_url: StorageUrl | None = Field(
        None,
        description="a copy of that store, of the same form, from which damaged documents are repaired",
    )
    encryption_keys: tuple[Path, ...] = Field(
        (),
        examples=[["/etc/xdsi/at-rest.key"]],
        description="files with keys of 32 bytes (or 64 hexadecimal digits) for encryption at rest; the "
        "first encrypts, all decrypt",
    )
    encryption_key_command: tuple[str, ...] = secret(
        "program, with its arguments, that prints keys as hexadecimal digits, one on each line, "
        "as the client of a key management service does; it is run at start, and its keys come before those "
        "of files",
        default=(),
        examples=[["/usr/local/bin/kms", "print"]],
    )
    compress: bool = Field(False, description="whether text and XML are compressed at rest (zstd)")
    registration_timeout_seconds: Seconds = Field(
        6.0, gt=0, description="time for one ITI-42; two of them bound the wait of an ITI-41"
    )
    retry_seconds: Seconds = Field(
        5.0, gt=0, description="pause between attempts to learn what became of a submission in doubt"
    )
    grace_seconds: Seconds = Field(
        86_400.0, ge=0, description="age at which bytes that nothing refers to are removed"
    )
    replay_days: Days = Field(
        7.0,
        gt=0,
        description="days for which a message that comes again is answered as before; later it is a new one",
    )
    imaging_source_url: HttpUrl = Field(
        "http://127.0.0.1:8030/xds/imaging-source",
        description="where the imaging source is, which makes the manifests of On-Demand and delayed entries",
    )
    persist_on_demand: bool = Field(
        True,
        description="whether what an On-Demand entry gave is kept and registered as a snapshot of it (option "
        "Persistence of Retrieved Documents)",
    )
    administrator_roles: tuple[CodeWithScheme, ...] = Field(
        (),
        examples=[["106289002^^2.16.840.1.113883.6.96"]],
        description="roles (code^^scheme) whose users may remove documents, beside nodes of the community",
    )


SETTINGS = RepositorySettings
