"""The services of the product, by the names that a command knows them under."""

from __future__ import annotations

import importlib
from enum import StrEnum
from typing import Final

from shared.settings import ServiceSettings


class Service(StrEnum):
    """The services that can be served."""

    REGISTRY = "registry"
    REPOSITORY = "repository"
    IMAGING_SOURCE = "imaging-source"
    CONSUMER = "consumer"
    AUDIT_REPOSITORY = "audit-repository"
    GATEWAY = "gateway"
    IDENTITY = "identity"
    CONFORMANCE = "conformance"

    @property
    def package(self) -> str:
        """The Python package of the service."""
        return self.value.replace("-", "_")

    def settings_class(self) -> type[ServiceSettings]:
        """The class of its settings."""
        settings: type[ServiceSettings] = importlib.import_module(f"{self.package}.settings").SETTINGS
        return settings


#: The services that a community is made of; the others stand beside it, where somebody starts them.
COMMUNITY: Final = tuple(
    service for service in Service if service not in (Service.IDENTITY, Service.CONFORMANCE)
)
