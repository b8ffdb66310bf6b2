"""`xdsi db tiers` and `xdsi db warm`: instances that were moved to the cold storage, and back to hand."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer

from imaging_source.domain.intake import Refused
from imaging_source.maintenance import tiers as maintenance
from imaging_source.maintenance.tiers import Holding, Return, Survey, Tier
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.stores import open_contents
from imaging_source.store.tiers import TieredFiles, cools_before
from shared.dicom.uids import UID_FORM, is_uid
from shared.http.checked import StoreUnavailable
from shared.store.engine import Reader
from shared.store.failures import DatabaseError
from shared.store.snapshot import open_reader
from xdsi.configuration import load
from xdsi.copies import is_here
from xdsi.failures import Failed
from xdsi.listing import Column, counted, show
from xdsi.options import AsJson, Config
from xdsi.progress import progress

Answer = TypeVar("Answer")

_COLUMNS = (Column("where"), Column("instances"), Column("MB"))


def tiers(as_json: AsJson = False, config: Config = None) -> None:
    """Show how many instances of the imaging source are at hand, and how many in the cold storage.

    In both is what was copied and is still at hand for two hours. Looks at names alone: xdsi db verify reads
    the bytes. Exit status 1 when an instance is nowhere.

    Example: [bold]xdsi db tiers[/bold]
    """
    settings = load(ImagingSourceSettings, config)
    before = cools_before(settings.cold_after_days)
    overview = _run(settings, lambda index, files: maintenance.survey(index, files, before=before))
    if as_json:
        holdings = {tier.replace(" ", "_"): asdict(one) for tier, one in overview.tiers.items()}
        sys.stdout.write(json.dumps(holdings | {"due": asdict(overview.due)}) + "\n")
    else:
        show(_COLUMNS, _rows(overview))
    if overview.tiers[Tier.NOWHERE].contents:
        raise Failed("instances are nowhere; xdsi db verify names them, and to send them again mends it")


def _rows(overview: Survey) -> list[tuple[str, int, str]]:
    rows = [(str(tier), one) for tier, one in overview.tiers.items()]
    rows.append(("due to be moved", overview.due))
    return [(name, one.contents, f"{one.bytes / 1e6:.1f}") for name, one in rows]


def warm(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="[STUDY_UID…]", help="Studies of the imaging source.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that is not at hand.")] = False,
    as_json: AsJson = False,
    config: Config = None,
) -> None:
    """Bring studies back from the cold storage, beside the running service: from now on they are at hand, and
    are moved again when they have aged anew. Run it as the user of the service.

    The copy in the cold storage stays. With --all nothing needs the cold storage any more afterwards
    (docs/deploy.md). Exit status 1 when something is damaged; the rest is brought back all the same.

    Example: [bold]xdsi db warm 1.2.840.1[/bold]
    """
    if everything == bool(studies):
        raise typer.BadParameter("name studies, or say --all")
    for uid in studies or ():
        if not is_uid(uid):
            raise typer.BadParameter(f"{uid} is no UID: {UID_FORM}")
    result = _run(
        load(ImagingSourceSettings, config), lambda index, files: _warmed(index, files, studies or [])
    )
    if as_json:
        sys.stdout.write(json.dumps(asdict(result)) + "\n")
    else:
        typer.echo(f"brought back: {_told(result.back)}; {_told(result.at_hand)} at hand already")
    for sha256 in result.damaged:
        typer.echo(f"damaged: {sha256}", err=True)
    if result.damaged:
        raise Failed("something is damaged, or lost; restore it from a backup, or send it again")


def _told(holding: Holding) -> str:
    return f"{counted(holding.contents, 'instance')}, {holding.bytes / 1e6:.1f} MB"


async def _warmed(index: Reader, files: TieredFiles, studies: list[str]) -> Return:
    # What is written here, the service has to read.
    owner = files.folder.stat().st_uid
    if owner != os.geteuid():
        raise Failed(f"{files.folder} belongs to the user {owner}; run it as that one")
    for study in studies:
        if not [one async for one in maintenance.in_study(index, study)]:
            raise Failed(f"the imaging source has no study {study}")
    total = (await maintenance.survey(index, files, before=0)).tiers[Tier.COLD].bytes if not studies else None
    with progress("warm", total) as advance:
        return await maintenance.warm(index, files, _contents(index, files, studies), advance)


async def _contents(index: Reader, files: TieredFiles, studies: list[str]) -> AsyncIterator[tuple[str, int]]:
    for study in studies:
        async for one in maintenance.in_study(index, study):
            yield one
    if not studies:
        async for one in maintenance.not_at_hand(index, files):
            yield one


def _run(settings: ImagingSourceSettings, work: Callable[[Reader, TieredFiles], Awaitable[Answer]]) -> Answer:
    if settings.cold_storage_url is None:
        raise Failed("no cold storage is named; XDSI_COLD_STORAGE_URL does that")
    try:
        return asyncio.run(_worked(settings, work))
    except StoreUnavailable:
        raise Failed(f"{settings.cold_storage_url} cannot be asked now; xdsi doctor tells why") from None
    except (DatabaseError, OSError, Refused) as error:
        raise Failed(str(error)) from None


async def _worked(
    settings: ImagingSourceSettings, work: Callable[[Reader, TieredFiles], Awaitable[Answer]]
) -> Answer:
    if not await is_here(settings):
        raise Failed("the imaging source has no data here; name the tier with XDSI_DATA or --config")
    with closing(await asyncio.to_thread(open_contents, settings)) as files:
        assert isinstance(files, TieredFiles)
        async with open_reader(settings.database_url, folder=settings.folder) as index:
            return await work(index, files)
