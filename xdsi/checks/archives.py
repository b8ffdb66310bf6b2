"""The archives that the imaging source fronts: whether each answers a query, as the service would ask it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from shared.http.client import http_client
from shared.settings import SettingsError
from xdsi.checks.finding import Finding, well, wrong

_SERVICE: Final = "imaging-source"
_SETTING: Final = "XDSI_IMAGING_SOURCE__ARCHIVES"
_SECONDS: Final = 10.0
#: Nobody has a study of this UID (PS3.5 B.2): the answer tells of no patient.
_NOBODYS_STUDY: Final = "2.25.0"


async def archives(settings: Any) -> list[Finding]:
    """What comes of asking each for a study that nobody has."""
    from imaging_source.archives.archive import Archive, ArchiveAway
    from imaging_source.archives.moves import Moves
    from imaging_source.archives.opening import each_archive
    from imaging_source.dimse.archive import by_dimse
    from shared.security.peer_certificate import own_node

    async def asked(archive: Archive) -> Finding:
        subject = f"{_SETTING} {archive.name}"
        try:
            async with asyncio.timeout(_SECONDS):
                await archive.list_study(_NOBODYS_STUDY)
        except (ArchiveAway, TimeoutError) as error:
            return wrong(
                "archive",
                subject,
                f"{str(error) or f'no answer in {_SECONDS:g} s'}: nothing of it is found or given",
                f"start it, let it take queries of this node, or correct {_SETTING}",
                _SERVICE,
            )
        return well("archive", subject, "answers queries", _SERVICE)

    urls = [archive.address for archive in settings.archives.values() if archive.url]
    try:
        async with http_client(settings.tls, peers=urls, timeout_seconds=_SECONDS) as http:
            node = own_node("", settings.tls.certificate)
            ask = partial(by_dimse, settings, node)
            each = each_archive(settings, http, node=node, by_dimse=ask, moves=Moves())
            return list(await asyncio.gather(*map(asked, each)))
    except (SettingsError, OSError, ValueError):
        return []  # told by what refuses to start
