"""Who acts: the registry of the community, and the consumer of Hospital South for its people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from xdsi.stage import Stage

ROLES = "2.999.40.1"
TREATMENT_PURPOSE = "TREAT"


def registry_settings(stage: Stage) -> Any:
    """What the registry of the community is told."""
    from registry.settings import RegistrySettings

    return stage.load(RegistrySettings, stage.community)


@asynccontextmanager
async def consumer_of(stage: Stage, clinician: Any) -> AsyncIterator[Any]:
    """Hospital South's consumer, working for `clinician`."""
    from consumer.imaging_document_consumer import open_consumer
    from consumer.settings import ConsumerSettings

    async with open_consumer(stage.load(ConsumerSettings, stage.south), clinician) as consumer:
        yield consumer
