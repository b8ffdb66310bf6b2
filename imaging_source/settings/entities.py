"""Settings of DICOM application entities: who they are, where they are, and what they may do."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from shared.settings.group import Group
from shared.settings.kinds import AeTitle, Host, Port


class DimseService(StrEnum):
    """What an application entity may ask for by DIMSE; the value is its name in settings."""

    STORE = "store"
    FIND = "find"
    MOVE = "move"
    GET = "get"
    COMMIT = "commit"


class EntitySettings(Group):
    """One application entity."""

    host: Host | None = Field(None, description="its address or name, where it listens")
    port: Port = Field(104, description="its port")
    tls: bool = Field(
        True,
        description="call it by TLS where TLS is set up here; without, it has to be on this machine",
    )
    certificate: str | None = Field(
        None,
        description="its node: subject DN (RFC 4514) or SHA-256 of its certificate. Nobody else may use the "
        "title, and it needs no other right; without it the node that uses the title needs its rights "
        "itself, and where it is called its certificate has to name `host`",
    )
    services: tuple[DimseService, ...] = Field((), description="what it may ask for")
    same_association: bool = Field(
        False,
        description="results of storage commitment are reported by the association of the request where that "
        "can be done at once, and by one of ours else",
    )
    destinations: tuple[AeTitle, ...] = Field(
        (), description="AE titles of this table to which it may have instances moved (C-MOVE)"
    )
