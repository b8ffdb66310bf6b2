"""The table of AE titles of the imaging source: whether each one that has an address answers C-ECHO."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.settings import SettingsError
from xdsi.checks.finding import Finding, doubtful, of_problem, well


async def entities(settings: Any) -> list[Finding]:
    """What comes of calling each application entity that has an address, as the service would."""
    from imaging_source.dimse.entities import ApplicationEntities, Entity
    from imaging_source.dimse.requestor import unechoed
    from imaging_source.settings import ENTITIES_SETTING
    from shared.security.rights import Rights

    try:
        table = ApplicationEntities(settings, Rights(settings))
    except SettingsError as error:
        return [of_problem("entity", problem, "imaging-source") for problem in error.problems]

    async def called(entity: Entity) -> Finding:
        subject = f"{ENTITIES_SETTING} {entity.title}"
        at = f"{entity.settings.host} port {entity.settings.port}"
        if reason := await asyncio.to_thread(unechoed, entity, settings):
            return doubtful(
                "entity",
                subject,
                f"{at}: {reason}: nothing can be moved or reported there",
                f"start it, let it take associations of {settings.ae_title}, or correct its address",
                "imaging-source",
            )
        return well("entity", subject, f"{at}: answers C-ECHO", "imaging-source")

    return list(await asyncio.gather(*map(called, table.with_address)))
