"""`xdsi publish`: manifests of studies that the imaging source holds, registered by RAD-68."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer

from imaging_source.domain.reconciliation import UNKNOWN_PATIENT
from imaging_source.settings import ImagingSourceSettings
from repository.domain.assembly import AssemblyKind
from shared.dicom.part10 import DicomError, scan, uid_of
from shared.dicom.uids import is_uid
from shared.http.client import http_client
from xdsi.configuration import load
from xdsi.failures import Failed
from xdsi.listing import Column, show
from xdsi.on_demand import enter_studies
from xdsi.options import AsJson, Config, Quiet
from xdsi.patient_ids import domain_patient_id

WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.2
# A study that is not known yet comes as a whole before its first portion is kept.
_MIGRATION_SECONDS = 3600.0
_STUDY_INSTANCE_UID = 0x0020000D


_COLUMNS = (Column("study", is_id=True), Column("outcome"), Column("manifest", is_id=True))

# What became of a study that is published now, in a word.
PUBLISHED, UNCHANGED, REPLACED = "published", "unchanged", "replaced"
# How one stands that is withdrawn, or of which nothing was published.
WITHDRAWN, UNPUBLISHED = "withdrawn", "unpublished"
_REPORTS_TOLD = ["waiting", "published", "refused"]
# What tells how a study stands; what was overtaken does not.
_TELLING = ["waiting", "published", "withdrawn", "refused", "abandoned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of one study; `reason` is empty for what is published or on its way.

    `outcome` says more than `state` of one that is published: for the first time, `unchanged` as it was, or
    with a manifest that `replaced` the one before.
    """

    study_instance_uid: str
    state: str
    outcome: str
    document_unique_id: str = ""
    reason: str = ""
    reports: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def command(
    what: Annotated[
        list[str],
        typer.Argument(metavar="STUDY_UID|PATH…", help="Studies, or DICOM files and folders of them."),
    ],
    patient: Annotated[
        str,
        typer.Option(help="Patient id of the affinity domain, when it is not the Patient ID of the files."),
    ] = "",
    wait: Annotated[bool, typer.Option(help="Wait until the registry has answered.")] = True,
    on_demand: Annotated[
        bool, typer.Option("--on-demand", help="Register entries whose manifests are made when retrieved.")
    ] = False,
    delayed: Annotated[
        bool,
        typer.Option("--delayed", help="The same, with manifests made at the first retrieval and kept."),
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Withdraw the manifests of the studies; the images stay.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Tell what is published of the studies, and change nothing.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Publish studies of the imaging source: a manifest each, provided and registered by RAD-68.

    The source must hold the instances already: [bold]xdsi import[/bold]. A study that has changed since it
    was published replaces its manifest (replaced); one that has not is left as it is (unchanged). What it
    waits for is told; what is refused because the patient is not known goes by itself when the patient is
    added. With --on-demand or --delayed the repository registers entries (ITI-61, ITI-42) and asks the source
    when somebody retrieves.

    With --withdraw they are withdrawn instead: the registry deprecates the entries (ITI-57), and nothing that
    waits is sent any more. With --status each is told as it is, with its reports and the reason of what
    waits or failed, and the command that helps; nothing is changed.

    Example: [bold]xdsi publish ct-study/ --patient P-1001[/bold]
    """
    settings = load(ImagingSourceSettings, config)
    studies = study_uids(what)
    patient_id = domain_patient_id(patient, settings.affinity_domain) if patient else ""
    if withdraw + status + on_demand + delayed > 1:
        raise typer.BadParameter("--withdraw, --status, --on-demand and --delayed exclude each other")
    tell = _keep_quiet if as_json else _show_id if quiet else _show
    if on_demand or delayed:
        kind = AssemblyKind.ON_DEMAND if on_demand else AssemblyKind.DELAYED
        outcomes = asyncio.run(_enter(settings, studies, patient_id, kind, tell))
    elif withdraw or status:
        outcomes = asyncio.run(_stand(settings, studies, withdraw, _show_why if tell is _show else tell))
    else:
        outcomes = asyncio.run(_publish(settings, studies, patient_id, wait, tell))
    if as_json:
        typer.echo(json.dumps([_json(outcome) for outcome in outcomes], indent=2))
    if status:
        return
    right = (WITHDRAWN, UNPUBLISHED) if withdraw else (PUBLISHED, "waiting", *AssemblyKind)
    if failed := [one for one in outcomes if one.state not in right]:
        raise Failed("\n".join(f"{one.study_instance_uid}: {one}" for one in failed))
    if wait and (waiting := [one for one in outcomes if one.state == "waiting"]):
        raise Failed("\n".join(f"{one.study_instance_uid}: {one}" for one in waiting))


def _show(outcome: Published) -> None:
    row = (outcome.study_instance_uid, outcome.outcome, outcome.document_unique_id)
    show(_COLUMNS, (row,), headings=False)


def _show_why(outcome: Published) -> None:
    row = (outcome.study_instance_uid, outcome.outcome, outcome.document_unique_id, outcome.reason)
    of_reports = [
        (
            outcome.study_instance_uid,
            f"report {report['state']}",
            report["document_unique_id"],
            report["explanation"],
        )
        for report in outcome.reports
    ]
    show((*_COLUMNS, Column("why")), (row, *of_reports), headings=False)


def _show_id(outcome: Published) -> None:
    if outcome.document_unique_id:
        typer.echo(outcome.document_unique_id)


def _keep_quiet(outcome: Published) -> None:
    """For programs, which read all outcomes together."""


def _json(outcome: Published) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Published.__slots__}


async def _enter(
    settings: ImagingSourceSettings,
    studies: Sequence[str],
    patient_id: str,
    kind: AssemblyKind,
    tell: Callable[[Published], None],
) -> list[Published]:
    entered = await enter_studies(settings, studies, kind, patient_id)
    outcomes = []
    for study, (unique_id, reason) in entered.items():
        state = kind.value if unique_id else "refused"
        outcomes.append(
            Published(
                study_instance_uid=study,
                state=state,
                outcome=state,
                document_unique_id=unique_id,
                reason=reason,
            )
        )
        tell(outcomes[-1])
    return outcomes


async def _stand(
    settings: ImagingSourceSettings,
    studies: Sequence[str],
    withdraw: bool,
    tell: Callable[[Published], None],
) -> list[Published]:
    """How studies stand, after they are withdrawn if that is asked for."""
    outcomes = []
    async with Source.open(settings) as source:
        for study in studies:
            problem = await source.withdraw(study) if withdraw else ""
            question = {"study_instance_uid": study, "states": _TELLING, "limit": 1}
            publications, why = await source.standing(question)
            standing = _standing(study, next(iter(publications), {}), withdraw, problem if withdraw else why)
            reports = await source.reports({"study_instance_uid": study, "states": _REPORTS_TOLD})
            outcomes.append(replace(standing, reports=tuple(reports)))
            tell(outcomes[-1])
    return outcomes


def _standing(study: str, publication: dict[str, Any], withdraw: bool, problem: str) -> Published:
    """`problem` is why it could not be withdrawn, or why nothing of it is published."""
    state = publication.get("state", UNPUBLISHED)
    if withdraw and publication:
        state = "refused" if problem else WITHDRAWN
    drift = publication.get("drift") or {}
    needed = drift.get("explanation", "") if drift.get("needs_person") else ""
    return Published(
        study_instance_uid=study,
        state=state,
        outcome=state,
        document_unique_id=publication.get("document_unique_id", ""),
        reason=problem if withdraw or not publication else needed or publication.get("explanation", ""),
    )


def _tell(text: str) -> None:
    typer.echo(text, err=True)


async def publish_studies(
    settings: ImagingSourceSettings, studies: Sequence[str], patient_id: str = ""
) -> Mapping[str, str]:
    """Publish studies and wait for the registry; for each its state, and why when it is not `published`.

    `patient_id` is the CX of the affinity domain, by default each study's own.
    """
    outcomes = await _publish(settings, studies, patient_id, True, None)
    return {outcome.study_instance_uid: str(outcome) for outcome in outcomes}


def study_uids(what: Sequence[str]) -> list[str]:
    """The studies that are named, by UID or by files of them; each once.

    Raises
    ------
    Failed
        Something is neither a UID nor a file or folder with DICOM in it.
    """
    return list(dict.fromkeys(uid for text in what for uid in _uids(text)))


def _uids(text: str) -> Iterator[str]:
    path = Path(text)
    if path.exists():
        files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        uids = [uid for file in files if (uid := _study_of(file))]
        if not uids:
            raise Failed(
                f"{text}: there is no DICOM file; name one, a folder of them, or a Study Instance UID"
            )
        yield from uids
    elif is_uid(text):
        yield text
    else:
        raise Failed(f"{text}: neither a file or folder that exists nor a Study Instance UID")


def _study_of(path: Path) -> str:
    try:
        return uid_of(scan(path).data_set, _STUDY_INSTANCE_UID)
    except DicomError:
        return ""


# --- the source --------------------------------------------------------------------------------------


async def _publish(
    settings: ImagingSourceSettings,
    studies: Sequence[str],
    patient_id: str,
    wait: bool,
    tell: Callable[[Published], None] | None,
) -> list[Published]:
    async with Source.open(settings) as source:
        begun = [await source.publish(study, patient_id) for study in studies]
        outcomes = []
        for publication in begun:
            outcome = await source.outcome(publication, _tell) if wait else _outcome(publication)
            outcomes.append(outcome)
            if tell:
                tell(outcome)
        return outcomes


class Source:
    """The HTTP interface of the imaging source."""

    def __init__(self, http: httpx2.AsyncClient, base: str) -> None:
        self._http = http
        self._base = base

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ImagingSourceSettings) -> AsyncIterator[Source]:
        """The source of `settings`."""
        base = settings.dicomweb_url.removesuffix("/dicomweb")
        async with http_client(settings.tls, peers=(base,)) as http:
            yield cls(http, base)

    async def publish(self, study_instance_uid: str, patient_id: str) -> dict[str, Any]:
        """Publish a study; its publication."""
        content = {"study_instance_uid": study_instance_uid, "patient_id": patient_id}
        status, answer = await self._post("/api/publish", content)
        if status == httpx2.codes.ACCEPTED:
            for warning in answer.get("warnings", ()):
                typer.echo(f"{study_instance_uid}: {warning}", err=True)
            return answer
        return {
            "study_instance_uid": study_instance_uid,
            "state": "refused",
            "errors": [{"code": f"HTTP {status}", "context": str(answer.get("detail", ""))}],
        }

    async def outcome(self, publication: dict[str, Any], tell: Callable[[str], None]) -> Published:
        """The state of a publication once it has ended, waits for its patient, or after `WAIT_SECONDS`.

        `tell` is told what it waits for, whenever that changes.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + WAIT_SECONDS
        unchanged, reasons = publication.get("unchanged", False), set[str]()
        while _is_under_way(publication) and loop.time() < deadline:
            if (waits_for := _waits_for(publication)) and waits_for not in reasons:
                reasons.add(waits_for)
                tell(f"{publication['study_instance_uid']}: {publication['explanation']}")
            await asyncio.sleep(_POLL_SECONDS)
            # The id of a manifest that another took the place of leads to that.
            question = {"study_instance_uid": publication["study_instance_uid"], "limit": 1}
            [publication] = await self.publications(question)
        return _outcome(publication | {"unchanged": unchanged})

    async def publications(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """The publications that are asked for."""
        publications, _ = await self.standing(question)
        return publications

    async def standing(self, question: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
        """The publications of a study, and why there are none."""
        status, answer = await self._post("/api/publications", question)
        if status != httpx2.codes.OK:
            raise Failed(f"{self._base}: {answer.get('detail', status)}")
        return list(answer["publications"]), str(answer.get("unpublished", ""))

    async def reports(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """The reports that are asked for."""
        status, answer = await self._post("/api/reports", question)
        if status != httpx2.codes.OK:
            raise Failed(f"{self._base}: {answer.get('detail', status)}")
        return list(answer["reports"])

    async def decide_report(self, order: str, report_id: str, study_instance_uid: str = "") -> str:
        """Accept, retry or withdraw a report; why not, where that cannot be."""
        content = {"report_id": report_id}
        if study_instance_uid:
            content["study_instance_uid"] = study_instance_uid
        status, answer = await self._post(f"/api/reports/{order}", content)
        return "" if status == httpx2.codes.ACCEPTED else str(answer.get("detail", f"HTTP {status}"))

    async def set_aside(self) -> list[dict[str, Any]]:
        """The instances that are set aside."""
        _, answer = await self._post("/api/publications", {"limit": 1000})
        return list(answer.get("set_aside", ()))

    async def accept(self, sop_instance_uid: str) -> str:
        """Accept an instance that is set aside; why not, where that cannot be."""
        content = {"sop_instance_uid": sop_instance_uid}
        status, answer = await self._post("/api/publications/accept", content)
        return "" if status == httpx2.codes.OK else str(answer.get("detail", f"HTTP {status}"))

    async def retry(self, publication_id: str) -> str:
        """Try a publication again; why not, where that cannot be."""
        status, answer = await self._post("/api/publications/retry", {"publication_id": publication_id})
        return "" if status == httpx2.codes.ACCEPTED else str(answer.get("detail", f"HTTP {status}"))

    async def studies_of_archive(self, archive: str, dates: str) -> list[str]:
        """The studies of an archive that the source fronts."""
        status, answer = await self._post("/api/archives/studies", {"archive": archive, "dates": dates})
        if status != httpx2.codes.OK:
            raise Failed(f"{self._base}: {answer.get('detail', status)}")
        if answer["more"]:
            raise Failed("the archive has more studies than it tells at once; migrate it by --dates")
        return list(answer["study_instance_uids"])

    async def migrate(self, study: str, most_bytes: int) -> tuple[dict[str, Any], str]:
        """Migrate a portion of a study: what came of it, or why nothing did."""
        content = {"study_instance_uid": study, "most_bytes": most_bytes}
        status, answer = await self._post(
            "/api/archives/migrate", content, timeout_seconds=_MIGRATION_SECONDS
        )
        return (answer, "") if status == httpx2.codes.OK else ({}, str(answer.get("detail", status)))

    async def erase(self, study: str, sop_instance_uids: Sequence[str], reason: str) -> tuple[int, str]:
        """Erase a study, or of it these instances; their number, or why not."""
        content = {
            "study_instance_uid": study,
            "sop_instance_uids": list(sop_instance_uids),
            "reason": reason,
        }
        status, answer = await self._post("/api/erase", content)
        if status != httpx2.codes.OK:
            return 0, str(answer.get("detail", f"HTTP {status}"))
        return int(answer["erased"]), ""

    async def withdraw(self, study_instance_uid: str) -> str:
        """Withdraw a study; why not, where that cannot be."""
        content = {"study_instance_uid": study_instance_uid}
        status, answer = await self._post("/api/publications/withdraw", content)
        return "" if status == httpx2.codes.OK else str(answer.get("detail", f"HTTP {status}"))

    async def _post(
        self, path: str, content: dict[str, Any], *, timeout_seconds: float = 30.0
    ) -> tuple[int, dict[str, Any]]:
        try:
            response = await self._http.post(self._base + path, json=content, timeout=timeout_seconds)
        except (httpx2.HTTPError, OSError) as error:
            raise Failed(
                f"the imaging source at {self._base} does not answer ({type(error).__name__}); is it running?"
                " name it with XDSI_IMAGING_SOURCE__PUBLIC_URL or --config"
            ) from None
        try:
            return response.status_code, response.json()
        except ValueError:
            raise Failed(f"{self._base}{path} answers {response.status_code} without JSON") from None


def _is_under_way(publication: dict[str, Any]) -> bool:
    awaits_patient = any(error["code"] == UNKNOWN_PATIENT for error in publication["errors"])
    return publication["state"] in ("waiting", "superseded") and not awaits_patient


def _waits_for(publication: dict[str, Any]) -> str:
    """What an attempt said; when it is tried again is no news."""
    return "; ".join(f"{error['code']}: {error['context']}" for error in publication["errors"])


def _outcome(publication: dict[str, Any]) -> Published:
    done = publication["state"] == PUBLISHED
    return Published(
        study_instance_uid=publication["study_instance_uid"],
        state=publication["state"],
        outcome=_word(publication) if done else publication["state"],
        document_unique_id=publication.get("document_unique_id", ""),
        reason="" if done else _reason(publication),
    )


def _word(publication: dict[str, Any]) -> str:
    if publication.get("unchanged"):
        return UNCHANGED
    return REPLACED if publication.get("replaces") else PUBLISHED


def _reason(publication: dict[str, Any]) -> str:
    errors = publication.get("errors", ())
    reasons = "; ".join(f"{error['code']}: {error['context']}" for error in errors)
    return publication.get("explanation", "") if publication["state"] == "waiting" else reasons
