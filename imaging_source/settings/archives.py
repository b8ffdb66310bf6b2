"""Settings of the archives that the source fronts."""

from __future__ import annotations

from base64 import b64encode
from enum import StrEnum
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import Field, model_validator

from shared.settings.group import Group
from shared.settings.kinds import AeTitle, HttpUrl


class Retrieval(StrEnum):
    """How an archive gives by DIMSE; the value is its name in settings."""

    GET = "get"
    MOVE = "move"


class ArchiveSettings(Group):
    """One archive in place: by its `url`, or by DIMSE as the application entity `ae_title`."""

    url: HttpUrl | None = Field(
        None, description="the base of its DICOM web services, with user:password@ where it wants them"
    )
    ae_title: AeTitle | None = Field(
        None, description="the archive in XDSI_APPLICATION_ENTITIES, asked by C-FIND"
    )
    retrieve: Retrieval = Field(
        Retrieval.GET, description="with ae_title: by C-GET (`get`), or by C-MOVE to this source (`move`)"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.ae_title is None):
            raise ValueError("is asked by the web or by DIMSE; name its url, or its ae_title")
        return self

    @property
    def address(self) -> str:
        """`url` without user and password; empty without."""
        if self.url is None:
            return ""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")

    @property
    def authorization(self) -> str:
        """The Authorization header (RFC 7617); empty where none is wanted."""
        parts = urlsplit(self.url or "")
        if parts.username is None:
            return ""
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return f"Basic {b64encode(credentials.encode()).decode()}"
