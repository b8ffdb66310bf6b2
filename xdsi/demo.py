"""`xdsi demo`: two hospitals and a community on this machine, and studies shared between them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xdsi.cli import Failed
from xdsi.community import NotReady
from xdsi.stage import Stage

ROLES = "2.999.40.1"
TREATMENT_PURPOSE = "TREAT"
_WIDTH = 122


@dataclass
class Story:
    """What was shown and what it proved; a step that does not hold ends the demo."""

    console: Console
    proved: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One line: what is done, what came of it, and how long it took."""
        step = Step()
        began = time.perf_counter()
        with self.console.status(title) if self.console.is_terminal else _nothing():
            try:
                yield step
            except DoesNotHold as error:
                self._line(title, f"{error}", time.perf_counter() - began, mark="✗", style="red")
                raise
        self._line(title, step.outcome, time.perf_counter() - began, mark="✓", style="green")
        if step.proof:
            self.proved.append(step.proof)

    def _line(self, title: str, outcome: str, seconds: float, *, mark: str, style: str) -> None:
        line = Text.assemble((mark, style), f" {title:<53} ", (f"{outcome:<54} ", "dim"), f"{seconds:5.2f} s")
        self.console.print(line, soft_wrap=True)

    def table(self) -> None:
        """What was proved."""
        table = Table(
            title="What was proved", title_justify="left", show_header=False, box=None, pad_edge=False
        )
        table.add_column(style="bold")
        table.add_column()
        for claim, evidence in self.proved:
            table.add_row(claim, evidence)
        self.console.print()
        self.console.print(table)


@dataclass
class Step:
    """What a step came to; `proof` is a line of the table at the end."""

    outcome: str = ""
    proof: tuple[str, str] | None = None


class DoesNotHold(Exception):
    """A step did not do what it must; the text says what was seen."""


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def command(
    study_folder: Annotated[
        Path | None,
        typer.Argument(help="Folder with DICOM studies; a small built-in one is made when absent."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running and print addresses.")
    ] = False,
) -> None:
    """Share studies between two hospitals: publish, find, retrieve, compare, refuse, audit.

    Starts a community (registry, audit repository), Hospital North (imaging source, repository) and a
    clinician of Hospital South on loopback, each with its own certificates; mutual TLS and signed
    assertions on every step. Ends with status 0 only if every step held.

    Example: [bold]xdsi demo --keep ./my-studies[/bold]
    """
    if study_folder is not None and not study_folder.is_dir():
        raise typer.BadParameter(f"{study_folder} is not a folder", param_hint="STUDY_FOLDER")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    folder = Path(tempfile.mkdtemp(prefix="xdsi-demo-"))
    story = Story(console)
    with ExitStack() as stack:
        if not keep:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stage = Stage(folder)
        stack.callback(stage.stop)
        try:
            _tell(story, stage, study_folder)
        except (DoesNotHold, NotReady, Failed) as error:
            console.print(f"\n[red]The demo did not hold:[/red] {error}")
            raise typer.Exit(1) from None
        story.table()
        if keep:
            _wait(console, stage)
        else:
            _next_steps(console)


def _next_steps(console: Console) -> None:
    program = "xdsi" if shutil.which("xdsi") else os.path.relpath(sys.argv[0])
    steps = (
        (f"{program} demo --keep", "leave it running, and look around"),
        (f"{program} demo FOLDER", "the same with your own DICOM studies"),
        (f"{program} up", "your own community on this machine"),
        (f"{program} doctor", "is this machine ready for more?"),
        ("README.md", "the map of the house"),
    )
    width = max(len(what) for what, _ in steps)
    console.print("\nWhere to go next")
    for what, why in steps:
        console.print(f"  {what:<{width}}    {why}")


def _wait(console: Console, stage: Stage) -> None:
    console.print("\nEverything is running; Ctrl-C ends it.\n")
    table = Table(box=None, pad_edge=False)
    for heading in ("who", "service", "address"):
        table.add_column(heading)
    for who, member in stage.members:
        table.add_row(who, member.service.value, member.url)
    console.print(table)
    console.print(
        f"\nCertificates, data and logs: {stage.folder}\n"
        f"Commands as Hospital South:  xdsi find --config {stage.folder / 'south.toml'} --patient …"
        f" --user dr.south --role RAD-PHYS^^{ROLES}\n"
        f"Commands as the community:   xdsi audit search --config {stage.folder / 'community.toml'}"
    )
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        return


# --- the story ---------------------------------------------------------------------------------------


def _tell(story: Story, stage: Stage, study_folder: Path | None) -> None:
    with story.step("Two hospitals and a community start") as step:
        names = [member.service.value for member in stage.start()]
        step.outcome = f"{len(names)} services, mutual TLS, {len(set(names))} kinds"
        step.outcome = ", ".join(names)
    studies = _studies(story, stage, study_folder)
    asyncio.run(_shared(story, stage, studies))


@dataclass(frozen=True)
class Study:
    """One study on disk: its UID, its patient's id at the hospital and its files by SOP Instance UID.

    `manifests` are those of its instances that are manifests themselves, which no manifest references.
    """

    uid: str
    patient_id: str
    files: dict[str, Path]
    manifests: set[str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files.values())


def _studies(story: Story, stage: Stage, folder: Path | None) -> list[Study]:
    from xdsi.builtin_study import write_study

    with story.step("Hospital North has DICOM studies") as step:
        place = folder or stage.folder / "builtin-study"
        if folder is None:
            write_study(place)
        studies = _read(place)
        if not studies:
            raise DoesNotHold(f"no DICOM file in {place}")
        instances = sum(len(study.files) for study in studies)
        size = sum(study.size for study in studies) / 1024**2
        step.outcome = (
            f"{_many(len(studies), 'study', 'studies')}, {_many(instances, 'instance')}, {size:.1f} MiB"
        )
    return studies


def _read(folder: Path) -> list[Study]:
    from shared.dicom.part10 import DicomError, scan, uid_of
    from shared.dicom.uids import KEY_OBJECT_SELECTION

    found: dict[str, Study] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            data_set = scan(path).data_set
        except DicomError:
            continue
        patient = data_set.get(0x00100020)
        patient_id = bytes(patient.value).decode("utf-8", "replace").strip(" \0") if patient else ""  # type: ignore[arg-type]
        study_uid, uid = uid_of(data_set, 0x0020000D), uid_of(data_set, 0x00080018)
        study = found.setdefault(study_uid, Study(study_uid, patient_id, {}, set()))
        study.files[uid] = path
        if uid_of(data_set, 0x00080016) == KEY_OBJECT_SELECTION:
            study.manifests.add(uid)
    return list(found.values())


def _many(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


async def _shared(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    from consumer.domain.clinician import Clinician
    from shared.ebrim.identifiers import CX
    from shared.ebrim.model import Code

    radiologist = Clinician(
        name_id="dr.south",
        roles=(Code("RAD-PHYS", ROLES, "Radiologist"),),
        organization="Hospital South",
        organization_ids=("urn:oid:2.999.8",),
    )
    clerk = Clinician(
        name_id="clerk.south",
        roles=(Code("BILLING", ROLES, "Billing clerk"),),
        organization="Hospital South",
        organization_ids=("urn:oid:2.999.8",),
    )
    domain = _registry_settings(stage).affinity_domain
    patients = {study.patient_id: str(CX(study.patient_id, domain)) for study in studies}

    await _feed(story, stage, list(patients.values()))
    await _import(story, stage, studies)
    await _publish(story, stage, studies)
    await _consents(story, stage, list(patients.values()), radiologist)
    found = await _find(story, stage, radiologist, patients, studies)
    for via in ("rad69", "wado-rs"):
        await _retrieve(story, stage, radiologist, found, studies, via)
    await _refused(story, stage, clerk, patients, found)
    await _strangers(story, stage, radiologist, patients)
    await _trail(story, stage, studies)


def _registry_settings(stage: Stage) -> Any:
    from registry.settings import RegistrySettings

    return stage.load(RegistrySettings, stage.community)


async def _feed(story: Story, stage: Stage, patients: Sequence[str]) -> None:
    from xdsi.patient import message, send

    settings = _registry_settings(stage)
    with story.step("Patient identities reach the registry (ITI-8)") as step:
        for patient in patients:
            await send(settings, "", message("A04", patient=patient))
        step.outcome = _many(len(patients), "patient")


async def _import(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    from xdsi.import_ import send_files

    with story.step("North's imaging source takes the studies (STOW-RS)") as step:
        paths = [path for study in studies for path in study.files.values()]
        stored = await send_files(_source_settings(stage), paths)
        if stored != len(paths):
            raise DoesNotHold(f"{stored} of {len(paths)} instances were stored")
        step.outcome = f"{_many(stored, 'instance')} durable"


def _source_settings(stage: Stage) -> Any:
    from imaging_source.settings import ImagingSourceSettings

    return stage.load(ImagingSourceSettings, stage.north)


async def _publish(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    from xdsi.publish import publish_studies

    with story.step("Manifests are published (RAD-68, ITI-42)") as step:
        published = await publish_studies(_source_settings(stage), [study.uid for study in studies])
        waiting = [uid for uid, state in published.items() if state != "published"]
        if waiting:
            raise DoesNotHold(
                f"{len(waiting)} of {len(studies)} manifests are not registered: {published[waiting[0]]}"
            )
        step.outcome = f"{_many(len(published), 'manifest')} registered"


async def _consents(story: Story, stage: Stage, patients: Sequence[str], radiologist: Any) -> None:
    from xdsi.consent import ask_registry

    settings = _registry_settings(stage)
    with story.step("Patients permit radiologists, and nobody else") as step:
        for patient in patients:
            content = {
                "patient_id": patient,
                "effect": "permit",
                "roles": [str(role) for role in radiologist.roles],
                "purposes": [TREATMENT_PURPOSE],
                "description": "radiologists may see my images for treatment",
            }
            await ask_registry(settings, "set", content)
        step.outcome = f"{_many(len(patients), 'policy', 'policies')}; without one the answer is no"


@asynccontextmanager
async def _consumer(stage: Stage, clinician: Any) -> AsyncIterator[Any]:
    from consumer.imaging_document_consumer import open_consumer
    from consumer.settings import ConsumerSettings

    async with open_consumer(stage.load(ConsumerSettings, stage.south), clinician) as consumer:
        yield consumer


async def _find(
    story: Story, stage: Stage, radiologist: Any, patients: dict[str, str], studies: Sequence[Study]
) -> list[Any]:
    with story.step("South's radiologist finds them (ITI-18)") as step:
        async with _consumer(stage, radiologist) as consumer:
            found = [entry for patient in patients.values() for entry in await consumer.find(patient)]
        if len(found) != len(studies):
            raise DoesNotHold(f"{len(found)} manifests found, {len(studies)} were published")
        step.outcome = f"{_many(len(found), 'manifest')}: {found[0].title or 'without title'}" + (
            " …" if len(found) > 1 else ""
        )
        step.proof = (
            "Found",
            f"{len(found)} of {len(studies)} published studies, by a user with a signed assertion",
        )
    return found


async def _retrieve(
    story: Story, stage: Stage, radiologist: Any, found: Sequence[Any], studies: Sequence[Study], via: str
) -> None:
    from consumer.domain.study import Via

    name = {"rad69": "RAD-69", "wado-rs": "WADO-RS, RAD-107"}[via]
    folder = stage.folder / "south" / f"images-{via}"
    with story.step(f"… fetches manifests and images ({name})") as step:
        instances = size = 0
        async with _consumer(stage, radiologist) as consumer:
            for entry in found:
                manifest = await consumer.manifest(entry)
                result = await consumer.retrieve(manifest, folder, patient_id=entry.patient_id, via=Via(via))
                if not result.complete:
                    raise DoesNotHold(
                        f"{len(result.missing)} instances are missing: {result.missing[0].reason}"
                    )
                instances, size = instances + result.instances, size + result.size
        different = _different(folder, studies)
        if different:
            raise DoesNotHold(
                f"{len(different)} instances differ from what North holds, first {different[0]}"
            )
        step.outcome = f"{_many(instances, 'instance')}, {size / 1024**2:.1f} MiB, all bytes equal"
        step.proof = (
            f"Retrieved by {name}",
            f"{instances} instances, each equal byte for byte to North's file",
        )


def _different(folder: Path, studies: Sequence[Study]) -> list[str]:
    came = {path.stem: path for path in folder.rglob("*.dcm")}
    return [
        uid
        for study in studies
        for uid, path in study.files.items()
        if (uid in came and _content(came[uid]) != _content(path))
        or (uid not in came and uid not in study.manifests)
    ]


def _content(path: Path) -> bytes:
    # What stands in the preamble is not part of the instance, and is not kept (PS3.10 7.1).
    return path.read_bytes()[128:]


async def _refused(
    story: Story, stage: Stage, clerk: Any, patients: dict[str, str], found: Sequence[Any]
) -> None:
    from consumer.domain.study import Via
    from shared.errors import Rejected
    from xdsi.consent import ask_registry

    patient = found[0].patient_id
    with story.step("A billing clerk of South sees nothing") as step:
        async with _consumer(stage, clerk) as consumer:
            seen = [entry for each in patients.values() for entry in await consumer.find(each)]
            try:
                await consumer.document(found[0])
                raise DoesNotHold("the clerk got the manifest by its id")
            except Rejected:
                pass
            manifest = await _as_radiologist(stage, found[0])
            result = await consumer.retrieve(
                manifest, stage.folder / "south" / "clerk", patient_id=patient, via=Via.RAD69
            )
        if seen or result.instances:
            raise DoesNotHold(f"the clerk saw {len(seen)} entries and {result.instances} images")
        step.outcome = "0 entries; manifest and images by id: as if absent"
    with story.step("… and the community knows why") as step:
        content = {
            "patient_id": patient,
            "action": "query",
            "roles": [str(role) for role in clerk.roles],
            "purposes": [TREATMENT_PURPOSE],
            "organizations": list(clerk.organization_ids),
        }
        answer = await ask_registry(_registry_settings(stage), "why", content)
        if answer["permitted"]:
            raise DoesNotHold("the explanation says that the clerk is permitted")
        step.outcome = answer["reason"]
        step.proof = ("Refused", f"a clerk without permission, for this reason: {answer['reason']}")


async def _as_radiologist(stage: Stage, entry: Any) -> Any:
    from consumer.domain.clinician import Clinician
    from shared.ebrim.model import Code

    async with _consumer(
        stage, Clinician(name_id="dr.south", roles=(Code("RAD-PHYS", ROLES, "Radiologist"),))
    ) as one:
        return await one.manifest(entry)


async def _strangers(story: Story, stage: Stage, radiologist: Any, patients: dict[str, str]) -> None:
    from shared.faults import SoapFault
    from shared.security.issuer import AssertionIssuer

    patient = next(iter(patients.values()))
    attempts: list[tuple[str, Callable[[], Any]]] = []
    provider = stage.south.provider
    south = AssertionIssuer.load(stage.south.issuer, provider.key, provider.certificate)
    forged = AssertionIssuer.load(
        stage.south.issuer, stage.north.provider.key, stage.north.provider.certificate
    )
    audience = f"urn:oid:{_registry_settings(stage).affinity_domain}"
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    said = {"name_id": radiologist.name_id, "audience": audience, "roles": radiologist.roles}
    attempts = [
        ("no assertion", lambda: None),
        ("an expired assertion", lambda: south.sign(**said, not_before=long_ago)),
        ("a foreign signature", lambda: forged.sign(**said)),
        ("another audience", lambda: south.sign(**{**said, "audience": "urn:oid:2.999.99"})),
    ]
    with story.step("Strangers and forgeries are turned away") as step:
        refused = []
        for name, assertion in attempts:
            try:
                await _ask_with(stage, assertion, patient)
            except SoapFault as fault:
                refused.append(f"{name}: {fault.subcode[1] if fault.subcode else fault.code}")
                continue
            raise DoesNotHold(f"{name} was accepted")
        if await _without_certificate(stage):
            raise DoesNotHold("a client without certificate was served")
        step.outcome = "; ".join(["no certificate: no TLS", *refused])[:53] + "…"
        step.proof = ("Turned away", "no certificate; " + "; ".join(name for name, _ in attempts))


async def _ask_with(stage: Stage, assertion: Callable[[], bytes | None], patient: str) -> None:
    from consumer.settings import ConsumerSettings
    from consumer.transactions.iti18 import FIND_DOCUMENTS
    from shared.http.client import http_client
    from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
    from shared.soap.client import SoapClient

    settings = stage.load(ConsumerSettings, stage.south)
    parameters = encode_parameters({"$XDSDocumentEntryPatientId": patient})
    request = StoredQueryRequest(
        query_id=FIND_DOCUMENTS, return_type=ReturnType.OBJECT_REF, parameters=parameters
    )
    async with http_client(settings.tls, peers=(settings.registry_url,)) as http:
        await SoapClient(http, assertion=assertion).call(ITI18, settings.registry_url, request)


async def _without_certificate(stage: Stage) -> bool:
    """Whether a client that trusts the server and shows no certificate gets any answer."""
    import ssl

    context = ssl.create_default_context(cafile=str(stage.south.trust))
    context.check_hostname = False
    try:
        async with httpx2.AsyncClient(verify=context, trust_env=False) as http:
            await http.get(stage.url("registry", "/health/live"))
    except httpx2.HTTPError:
        return False
    return True


async def _trail(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    from audit_repository.settings import AuditRepositorySettings
    from xdsi.audit import collect, verified_by_service

    settings = stage.load(AuditRepositorySettings, stage.community)
    wanted = {"ITI-8", "ITI-18", "ITI-41", "ITI-42", "ITI-43", "RAD-68", "RAD-69", "RAD-107", "RAD-108"}
    with story.step("Every access stands in the audit trail (ITI-20)") as step:
        records: list[dict[str, Any]] = []
        for _ in range(60):
            records = await collect(settings, "", {}, 5_000)
            if wanted <= _types(records) and _has_refusals(records):
                break
            await asyncio.sleep(0.25)
        if absent := wanted - _types(records):
            raise DoesNotHold(f"no record of {', '.join(sorted(absent))}")
        if not _has_refusals(records):
            raise DoesNotHold("the refused clerk is not in the trail")
        report = await verified_by_service(settings, "")
        if report["problems"]:
            raise DoesNotHold("the chain of the trail is broken")
        step.outcome = f"{len(records)} records of {len(_types(records))} kinds; chain verified"
        step.proof = (
            "Audited",
            f"{len(records)} records from both sides; the refusal with its policy; chain intact",
        )


def _types(records: Sequence[dict[str, Any]]) -> set[str]:
    return {kind["code"] for record in records for kind in record["types"]}


def _has_refusals(records: Sequence[dict[str, Any]]) -> bool:
    return any(record["outcome"] != 0 and "clerk.south" in json.dumps(record) for record in records)
