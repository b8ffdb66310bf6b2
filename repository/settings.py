"""Settings of the repository; `docs/settings.md` is printed from them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.settings import ServiceSettings


class RepositorySettings(ServiceSettings):
    """Read once at start; the repository refuses to start on settings it cannot read."""

    service: ClassVar[str] = "repository"

    port: int = Field(8020, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    repository_unique_id: str = Field(
        "1.3.6.1.4.1.21367.2026.10.20",
        description="repositoryUniqueId: under this OID documents are registered and retrieved",
    )
    registration_timeout_seconds: float = Field(
        6.0, gt=0, description="time for one ITI-42; two of them bound the wait of an ITI-41"
    )
    retry_seconds: float = Field(
        5.0, gt=0, description="pause between attempts to learn what became of a submission in doubt"
    )
    grace_seconds: float = Field(
        86_400.0, ge=0, description="age at which bytes that nothing refers to are removed"
    )
    administrator_roles: tuple[str, ...] = Field(
        (),
        description="roles (code^^scheme) whose users may remove documents, beside nodes of the community",
    )


SETTINGS = RepositorySettings
