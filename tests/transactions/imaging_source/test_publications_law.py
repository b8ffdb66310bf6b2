"""The law of publications: whatever came before, a study with images that is published again has one Approved
manifest, with all its images, for the patient it belongs to, and none for any other."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.ebrim.model import Code
from tests.support.imaging_source import cx
from tests.support.publishing_rig import PublishingRig, a_publishing_rig

STUDY = "2.25.11"
PATIENTS = ("P1", "P2", "P3")
patients = st.sampled_from(PATIENTS)
events = st.one_of(
    st.tuples(st.sampled_from(["grow", "publish", "deprecate", "remove", "restrict"])),
    st.tuples(st.sampled_from(["publish", "know", "give"]), patients),
    st.tuples(st.just("merge"), patients, patients),
)


@dataclass
class History:
    """What people did, and to whom the study belongs by that."""

    rig: PublishingRig
    belongs_to: str = "P1"
    images: set[str] = field(default_factory=set)
    merged: dict[str, str] = field(default_factory=dict)

    def survivor(self, patient: str) -> str:
        while patient in self.merged:
            patient = self.merged[patient]
        return patient

    def is_active(self, patient: str) -> bool:
        return patient in self.rig.patients and patient not in self.merged

    async def happens(self, event: str, *arguments: str) -> None:
        await getattr(self, event)(*arguments)

    async def grow(self) -> None:
        self.images.add(await self.rig.image(STUDY, "P1"))

    async def publish(self, patient: str = "") -> None:
        if patient:
            self.belongs_to = patient
        await self.rig.publish(STUDY, patient)

    async def know(self, patient: str) -> None:
        if patient not in self.rig.patients:
            await self.rig.make_known(patient)

    async def merge(self, prior: str, survivor: str) -> None:
        if prior != survivor and self.is_active(prior) and self.is_active(survivor):
            await self.rig.merge(prior, survivor)
            self.merged[prior] = survivor

    async def deprecate(self) -> None:
        for entry in await self.approved():
            await self.rig.deprecate(entry)

    async def remove(self) -> None:
        for entry in await self.approved():
            await self.rig.remove(entry)

    async def restrict(self) -> None:
        restricted = (Code("R", "2.16.840.1.113883.5.25", "restricted"),)
        for entry in await self.approved():
            await self.rig.new_version(entry, confidentiality_codes=restricted)

    async def give(self, patient: str) -> None:
        if self.is_active(patient):
            for entry in await self.approved():
                await self.rig.new_version(entry, patient_id=cx(patient))
                self.belongs_to = patient

    async def approved(self):
        return [entry for patient in PATIENTS for entry in await self.rig.approved(patient, STUDY)]


@pytest.mark.heavy
@given(st.lists(events, max_size=9))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
async def test_a_study_has_one_manifest_for_its_patient_and_none_for_another(happened):
    with tempfile.TemporaryDirectory() as folder:
        async with a_publishing_rig(Path(folder)) as rig:
            history = History(rig)
            await history.grow()
            for event in happened:
                await history.happens(*event)

            await history.publish()
            await history.know(history.survivor(history.belongs_to))
            await rig.settle()

            [entry] = await history.approved()
            assert entry.patient_id == cx(history.survivor(history.belongs_to))
            assert await rig.images_of(entry) == history.images
