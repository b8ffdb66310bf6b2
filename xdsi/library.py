"""The library: find and fetch published studies from a program.

    with xdsi.connect(user="dr.roe", roles=["RAD-PHYS^^2.999.40.1"]) as client:
        for study in client.find("P-1001", modalities=["CT"], since="2026-01-01"):
            for slice in client.fetch(study, "images").arrays():
                print(study.title, slice.shape, slice.min(), slice.max())

`async with` gives the same client with methods to await. Settings are those of the commands: the environment,
a TOML file, and without one that of the community which `xdsi up` runs in this folder. What must outlive the
program, such as audit events that are not sent yet, is kept below `XDSI_DATA`, or without it in the user's
folder for state, and nothing in the current one.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from consumer.domain.studies import Criteria, FoundStudy, WrongCriterion
from consumer.domain.study import Delivery, UnsafeManifest, Via
from consumer.imaging_document_consumer import ImagingDocumentConsumer, Retrieval, open_consumer
from consumer.settings import ConsumerSettings
from consumer.unit import Proof
from shared.dicom.kos import Manifest
from shared.ebrim.model import DocumentEntry, Timestamp
from xdsi.clinician import clinician_of
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.mistakes import sentence_of
from xdsi.remembered import remembered

Answer = TypeVar("Answer")
Moment = date | datetime | str


def connect(
    *,
    user: str | None = None,
    roles: Sequence[str] = (),
    purpose: str = "TREAT",
    organizations: Sequence[str] = (),
    assertion: Proof | None = None,
    config: str | Path | None = None,
    **settings: object,
) -> Connection:
    """Connect for a user, or without one for the node itself.

    Parameters
    ----------
    roles
        Codes as `CODE^^SCHEME` or `CODE^NAME^SCHEME`, as the commands take them; `purpose` likewise.
    assertion
        Gives the signed assertion for the next request, an XML document, where another provider signs than
        that of the settings; or an access token, a JWT as text, which is exchanged for an assertion where
        SOAP is spoken (`XDSI_SIGN_IN__EXCHANGE_URL`). Called each time. One that is bound to a key is a
        `BoundToken` with a `ProvingKey`: each request brings a proof (DPoP).
    config
        A TOML file with settings.
    settings
        Settings of the consumer by name, such as `registry_url`; they win over file and environment.

    Raises
    ------
    Failed, SettingsError
        A role or purpose is no code; a setting is wrong.
    """
    clinician = clinician_of(user, list(roles), purpose, list(organizations))
    file = Path(config) if config is not None else remembered(Path.cwd())
    if "XDSI_DATA" not in os.environ:
        settings.setdefault("data", _state())
    loaded = load(ConsumerSettings, file, **settings)
    return Connection(loaded, open_consumer(loaded, clinician, provider=assertion))


def _state() -> Path:
    """The folder in which programs of the user keep what must outlive them (XDG Base Directory)."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "xdsi"


def _nobody(_: Delivery) -> None:
    """Nobody is told."""


class AsyncClient:
    """Works for one user; every method raises `Failed` with a sentence that says why and what to do."""

    def __init__(self, settings: ConsumerSettings, consumer: ImagingDocumentConsumer) -> None:
        self._settings = settings
        self._consumer = consumer
        # Of the last search: whoever opens what was just found need not look for it again.
        self._entries: Mapping[tuple[str, str], DocumentEntry] = {}

    async def find(
        self,
        patient_id: str,
        *,
        modalities: Sequence[str] = (),
        body_part: str = "",
        since: Moment | None = None,
        before: Moment | None = None,
        accession_number: str = "",
        study_instance_uid: str = "",
    ) -> tuple[FoundStudy, ...]:
        """The published studies of a patient that the user may see, newest first (ITI-18).

        Parameters
        ----------
        patient_id
            An id of the affinity domain, or a whole CX.
        modalities
            Codes such as CT; studies of any of them.
        body_part
            Part of the name of a region that the study shows, such as chest.
        since, before
            When the service began, from the one on and before the other. A string is YYYY[-MM[-DD]]; a
            datetime without zone is local.
        accession_number, study_instance_uid
            That of the study, whole.
        """
        with Told():
            criteria = Criteria.of(
                patient_id,
                affinity_domain=self._settings.affinity_domain,
                modalities=modalities,
                since=_written(since),
                before=_written(before),
            )
            entries = await self._consumer.find(
                criteria.patient_id,
                modalities=criteria.codes,
                service_start_from=criteria.since,
                service_start_to=criteria.before,
            )
        self._entries = {(entry.home_community_id, entry.unique_id): entry for entry in entries}
        return tuple(
            study
            for study in map(FoundStudy.of, entries)
            if accession_number in ("", study.accession_number)
            if study_instance_uid in ("", study.study_instance_uid)
            if not body_part or any(body_part.casefold() in one.casefold() for one in study.body_parts)
        )

    async def manifest(self, study: FoundStudy | str, *, home_community_id: str = "") -> Manifest:
        """What a study that was found, or the manifest of this id, references (ITI-18, ITI-43)."""
        _, manifest = await self._opened(study, home_community_id)
        return manifest

    async def fetch(
        self,
        study: FoundStudy | str,
        to: str | Path,
        *,
        via: Via | str = Via.RAD69,
        series: Sequence[str] = (),
        on_delivery: Callable[[Delivery], None] = _nobody,
        home_community_id: str = "",
    ) -> Retrieval:
        """Fetch the images of a study that was found, or of the manifest of this id, into a folder.

        What is there already is not fetched again. The answer tells what is missing, and why, and reads what
        came for pydicom and numpy. `via` is rad69, wado-rs, wado-uri or c-move; what it does not bring
        comes by another road where there is one.

        Parameters
        ----------
        series
            Series Instance UIDs of `manifest`; without them all are fetched.
        on_delivery
            Told of each image as it is whole, or given up.
        """
        with Told():
            way = Via(via)
        entry, manifest = await self._opened(study, home_community_id)
        with Told():
            return await self._consumer.retrieve(
                manifest,
                Path(to),
                patient_id=entry.patient_id,
                home_community_id=entry.home_community_id,
                via=way,
                series=series,
                on_delivery=on_delivery,
            )

    async def _opened(
        self, study: FoundStudy | str, home_community_id: str
    ) -> tuple[DocumentEntry, Manifest]:
        unique_id = study.manifest_id if isinstance(study, FoundStudy) else study
        home = study.home_community_id if isinstance(study, FoundStudy) else home_community_id
        with Told():
            entry = self._entries.get((home, unique_id))
            entry = entry or await self._consumer.entry(unique_id, home_community_id=home)
            return entry, await self._consumer.manifest(entry)


class Client:
    """The same for programs that wait: each method returns when it is done."""

    def __init__(self, client: AsyncClient, loop: _Loop) -> None:
        self._client = client
        self._loop = loop

    def find(
        self,
        patient_id: str,
        *,
        modalities: Sequence[str] = (),
        body_part: str = "",
        since: Moment | None = None,
        before: Moment | None = None,
        accession_number: str = "",
        study_instance_uid: str = "",
    ) -> tuple[FoundStudy, ...]:
        """As `AsyncClient.find`."""
        return self._loop.run(
            self._client.find(
                patient_id,
                modalities=modalities,
                body_part=body_part,
                since=since,
                before=before,
                accession_number=accession_number,
                study_instance_uid=study_instance_uid,
            )
        )

    def manifest(self, study: FoundStudy | str, *, home_community_id: str = "") -> Manifest:
        """As `AsyncClient.manifest`."""
        return self._loop.run(self._client.manifest(study, home_community_id=home_community_id))

    def fetch(
        self,
        study: FoundStudy | str,
        to: str | Path,
        *,
        via: Via | str = Via.RAD69,
        series: Sequence[str] = (),
        on_delivery: Callable[[Delivery], None] = _nobody,
        home_community_id: str = "",
    ) -> Retrieval:
        """As `AsyncClient.fetch`."""
        return self._loop.run(
            self._client.fetch(
                study,
                to,
                via=via,
                series=series,
                on_delivery=on_delivery,
                home_community_id=home_community_id,
            )
        )


class Connection:
    """What `connect` gives: `with` it is a `Client`, `async with` it an `AsyncClient`, once."""

    def __init__(
        self, settings: ConsumerSettings, consumer: AbstractAsyncContextManager[ImagingDocumentConsumer]
    ) -> None:
        self._settings = settings
        self._consumer = consumer
        self._loop: _Loop | None = None

    async def __aenter__(self) -> AsyncClient:
        with Told():
            return AsyncClient(self._settings, await self._consumer.__aenter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._consumer.__aexit__(kind, error, trace)

    def __enter__(self) -> Client:
        self._loop = _Loop()
        try:
            return Client(self._loop.run(self.__aenter__()), self._loop)
        except BaseException:
            self._loop.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        try:
            self._loop.run(self.__aexit__(None, None, None))
        finally:
            self._loop.close()


class _Loop:
    """An event loop in a thread of its own: audit events go out between calls, and a caller may have one."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="xdsi", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Told:
    """What goes wrong is told as the commands tell it; a mistake of ours is raised as it is."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        match error:
            case WrongCriterion() | UnsafeManifest():
                raise Failed(str(error)) from None
            case Exception() if not isinstance(error, Failed) and (sentence := sentence_of(error)):
                raise Failed(sentence) from error


def _written(moment: Moment | None) -> str:
    if isinstance(moment, datetime):
        return str(Timestamp.of(moment))
    if isinstance(moment, date):
        return f"{moment:%Y%m%d}"
    return moment or ""
