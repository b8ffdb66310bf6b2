"""An imaging source that takes instances in: its store on either database, and who looks at its trail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from starlette.applications import Starlette

from imaging_source.domain.transfer import Sender
from imaging_source.settings import ImagingSourceSettings
from imaging_source.store.instances import InstanceStore
from imaging_source.store.stores import open_contents, open_instances
from imaging_source.store.tables import MIGRATIONS
from imaging_source.store.transfers import Transfer
from imaging_source.transactions import rad108
from imaging_source.unit import Unit
from shared.audit.events import SOURCE_ROLE, AuditEvent, Participant, ihe
from shared.audit.refusals import Refusals
from shared.audit.spool import AuditUnavailable
from shared.perform import EventRecorder
from shared.security.authenticator import Authenticator
from shared.security.caller import Caller
from shared.store.engine import Database
from shared.store.opening import open_database
from tests.support.codecs import CODECS
from tests.support.databases import DatabasePlace
from tests.support.rest import rest_app


@dataclass
class Trail:
    """Takes audit events as a recorder does, until it is `full`."""

    events: list[AuditEvent] = field(default_factory=list)
    full: bool = False

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.record)

    async def record(self, events: Sequence[AuditEvent]) -> None:
        await self.check()
        self.events += events

    async def check(self) -> None:
        if self.full:
            raise AuditUnavailable("the spool is full")


@dataclass
class Intake:
    """A store, the database below it and its settings."""

    store: InstanceStore
    database: Database
    settings: ImagingSourceSettings
    trail: Trail = field(default_factory=Trail)

    def unit(self, caller: Caller) -> Unit:
        """The unit of work of one request."""
        parts = SimpleNamespace(
            instances=self.store,
            settings=self.settings,
            recorder=self.trail,
            authenticator=Authenticator(self.settings),
        )
        return Unit(parts, caller)  # type: ignore[arg-type]  # what intake works with is there

    @property
    def incoming(self) -> list[Path]:
        """What lies in the folders of files that are arriving."""
        folder = self.store.files.incoming.parent
        return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]

    @property
    def kept(self) -> list[Path]:
        """The files of instances."""
        return sorted(self.store.files.folder.glob("??/*.dcm"))

    def spooled(self, octets: bytes):
        """A complete file aside, as after its arrival."""
        incoming = self.store.files.new(max_bytes=1024**3)
        incoming.write(octets)
        return incoming.finish()


def a_transfer() -> Transfer:
    """A request by which instances come."""
    sender = Participant(user_id="CT1", requestor=True, roles=(SOURCE_ROLE,), network_id="192.0.2.1")
    return Transfer(sender=Sender(transaction=ihe("RAD-18", "Creator Images Stored"), participants=(sender,)))


def settings_in(folder: Path, **changes) -> ImagingSourceSettings:
    return ImagingSourceSettings.load(environ={}, data=folder, **{"port": 0, "dimse_port": 0} | changes)


@asynccontextmanager
async def an_intake(folder: Path, place: DatabasePlace | None = None, **changes) -> AsyncIterator[Intake]:
    """An intake below `folder`; without a `place` its database is SQLite."""
    settings = settings_in(folder, **changes)
    if place is None:
        database = await open_database(None, folder=settings.folder, migrations=MIGRATIONS)
    else:
        database = await place.open(MIGRATIONS)
    contents = open_contents(settings)
    try:
        yield Intake(
            open_instances(settings, database, contents, CODECS),
            database,
            settings,
        )
    finally:
        contents.close()
        await database.close()


def stow_app(intake: Intake, recorder: EventRecorder | None = None) -> Starlette:
    """RAD-108 alone, into this intake."""
    recorder = recorder or intake.trail
    authenticator = Authenticator(intake.settings)
    parts = SimpleNamespace(
        instances=intake.store, settings=intake.settings, recorder=recorder, authenticator=authenticator
    )

    return rest_app(
        (rad108.SERVED,),
        unit=partial(Unit, parts),  # type: ignore[arg-type]  # what RAD-108 works with is there
        recorder=recorder,
        settings=intake.settings,
        authenticator=authenticator,
    )
