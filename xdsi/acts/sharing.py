"""Hospital North publishes its studies; Hospital South finds and fetches them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xdsi.acts.members import TREATMENT_PURPOSE, consumer_of, registry_settings
from xdsi.acts.studies import Study
from xdsi.stage import Stage
from xdsi.story import DoesNotHold, Story, many


async def feed(story: Story, stage: Stage, patients: Sequence[str]) -> None:
    """The registry learns of the patients."""
    from xdsi.patient import message, send

    settings = registry_settings(stage)
    with story.step("Patient identities reach the registry (ITI-8)") as step:
        for patient in patients:
            await send(settings, "", message("A04", patient=patient))
        step.outcome = many(len(patients), "patient")


async def take(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    """The imaging source stores the studies."""
    from xdsi.import_ import send_files

    with story.step("North's imaging source takes the studies (STOW-RS)") as step:
        paths = [path for study in studies for path in study.files.values()]
        stored = await send_files(_source_settings(stage), paths)
        if stored != len(paths):
            raise DoesNotHold(f"{stored} of {len(paths)} instances were stored")
        step.outcome = f"{many(stored, 'instance')} durable"


def _source_settings(stage: Stage) -> Any:
    from imaging_source.settings import ImagingSourceSettings

    return stage.load(ImagingSourceSettings, stage.north)


async def publish(story: Story, stage: Stage, studies: Sequence[Study]) -> None:
    """The manifests of the studies are registered."""
    from xdsi.publish import publish_studies

    with story.step("Manifests are published (RAD-68, ITI-42)") as step:
        published = await publish_studies(_source_settings(stage), [study.uid for study in studies])
        waiting = [uid for uid, state in published.items() if state != "published"]
        if waiting:
            raise DoesNotHold(
                f"{len(waiting)} of {len(studies)} manifests are not registered: {published[waiting[0]]}"
            )
        step.outcome = f"{many(len(published), 'manifest')} registered"


async def permit(story: Story, stage: Stage, patients: Sequence[str], radiologist: Any) -> None:
    """Each patient lets radiologists see what is shared, and nobody else."""
    from xdsi.consent import ask_registry

    settings = registry_settings(stage)
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
        step.outcome = f"{many(len(patients), 'policy', 'policies')}; without one the answer is no"


async def find(
    story: Story, stage: Stage, radiologist: Any, patients: dict[str, str], studies: Sequence[Study]
) -> list[Any]:
    """The entries of the manifests, as a clinician of South finds them."""
    with story.step("South's radiologist finds them (ITI-18)") as step:
        async with consumer_of(stage, radiologist) as consumer:
            entries = [entry for patient in patients.values() for entry in await consumer.find(patient)]
        if len(entries) != len(studies):
            raise DoesNotHold(f"{len(entries)} manifests found, {len(studies)} were published")
        step.outcome = f"{many(len(entries), 'manifest')}: {entries[0].title or 'without title'}" + (
            " …" if len(entries) > 1 else ""
        )
        step.proof = (
            "Found",
            f"{len(entries)} of {len(studies)} published studies, by a user with a signed assertion",
        )
    return entries


async def retrieve(
    story: Story, stage: Stage, radiologist: Any, entries: Sequence[Any], studies: Sequence[Study], via: str
) -> None:
    """Manifests and images come, each equal byte for byte to what North holds."""
    from consumer.domain.study import Via

    name = {"rad69": "RAD-69", "wado-rs": "WADO-RS, RAD-107"}[via]
    folder = stage.folder / "south" / f"images-{via}"
    with story.step(f"… fetches manifests and images ({name})") as step:
        instances = size = 0
        async with consumer_of(stage, radiologist) as consumer:
            for entry in entries:
                manifest = await consumer.manifest(entry)
                result = await consumer.retrieve(manifest, folder, patient_id=entry.patient_id, via=Via(via))
                if not result.complete:
                    raise DoesNotHold(
                        f"{len(result.missing)} instances are missing: {result.missing[0].reason}"
                    )
                instances, size = instances + result.instances, size + result.size
        differing = _different(folder, studies)
        if differing:
            raise DoesNotHold(
                f"{len(differing)} instances differ from what North holds, first {differing[0]}"
            )
        step.outcome = f"{many(instances, 'instance')}, {size / 1024**2:.1f} MiB, all bytes equal"
        step.proof = (
            f"Retrieved by {name}",
            f"{instances} instances, each equal byte for byte to North's file",
        )


def _different(folder: Path, studies: Sequence[Study]) -> list[str]:
    files = {path.stem: path for path in folder.rglob("*.dcm")}
    return [
        uid
        for study in studies
        for uid, path in study.files.items()
        if (uid in files and _content(files[uid]) != _content(path))
        or (uid not in files and uid not in study.manifests)
    ]


def _content(path: Path) -> bytes:
    # What stands in the preamble is not part of the instance, and is not kept (PS3.10 7.1).
    return path.read_bytes()[128:]
