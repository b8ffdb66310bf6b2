"""kill -9 of any service at any moment: what was acknowledged stays, nothing is half visible.

People work on a community while its services are killed and started again. The seed of every choice is
printed with a failure; which instruction a process dies at is chance all the same.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from tests.support.community import (
    SERVICES,
    audit_messages,
    cx,
    database_of,
    running,
    settings_of,
)
from tests.support.trail import Told, told
from tests.support.workload import Away, Sent, SentStudy, Workload
from xdsi.audit import verified_by_service
from xdsi.services import Service
from xdsi.stage import Stage

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.timeout(3600),
    # pynetdicom's SCU, on the side of the tests, leaves its socket open when the other side was first to end.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

KILLS, LONG_KILLS = 8, 500  # at least, of each of two communities
#: There was work of each kind, so often, before the killing ends.
WORK, LEAST = (
    ("provided", "fed", "publication taken", "read acknowledged", "read study", "provide unclear"),
    5,
)
CALM_SECONDS = 60
MANIFEST = "1.2.840.10008.5.1.4.1.1.88.59"


class Killer:
    """Kills one service, or several at once, and starts them again; sometimes kills them while they start."""

    def __init__(self, stage: Stage, workload: Workload, seed: int) -> None:
        self.stage = stage
        self.workload = workload
        self.choice = random.Random(seed)
        self.kills: Counter[Service] = Counter()
        self.slowest_start = 0.0

    async def kill(self, number: int) -> None:
        """Kill so many times in all, each service at least once, and until there was work enough."""
        for service in self.choice.sample(tuple(SERVICES), len(SERVICES)):
            await self._killed_together([service])
        while self.kills.total() < number or not worked(self.workload):
            several = self.choice.choice((1, 2, 2, 3))
            await self._killed_together(self.choice.sample(tuple(SERVICES), several))

    async def _killed_together(self, services: list[Service]) -> None:
        # Time for work: requests are under way when it ends.
        await asyncio.sleep(self.choice.uniform(0.05, 1.0))
        await asyncio.gather(*map(self._killed, services))

    async def _killed(self, service: Service) -> None:
        process = self.stage.process(service)
        await asyncio.sleep(self.choice.uniform(0, 0.1))
        self._note(service)
        process.kill()
        process.start()
        if self.choice.random() < 0.2:
            await asyncio.sleep(self.choice.uniform(0.5, 3.0))
            self._note(service)
            process.kill()
            process.start()
        began = time.monotonic()
        await asyncio.to_thread(process.wait_ready)
        self.slowest_start = max(self.slowest_start, time.monotonic() - began)
        self.workload.down.discard(service)

    def _note(self, service: Service) -> None:
        self.kills[service] += 1
        self.workload.kills[service] += 1
        self.workload.down.add(service)


def worked(workload: Workload) -> bool:
    return all(workload.counts[kind] >= LEAST for kind in WORK)


@dataclass
class Aftermath:
    """What is there once everything has come to rest."""

    stage: Stage
    workload: Workload
    kills: Counter[Service]
    undecided: int = -1
    waiting: int = -1
    whole: dict[str, bool] = field(default_factory=dict)
    entries: dict[str, list[str]] = field(default_factory=dict)
    visible: dict[str, str] = field(default_factory=dict)
    messages: list[Told] = field(default_factory=list)
    read: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    @property
    def acknowledged(self) -> list[Sent]:
        return [sent for sent in self.workload.submissions.values() if sent.acknowledged]

    @property
    def published(self) -> list[SentStudy]:
        return [study for study in self.workload.studies.values() if study.publication]


@pytest.fixture(scope="module", params=[True, False], ids=["mutual TLS", "plain"])
def aftermath(
    request: pytest.FixtureRequest, long: bool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Aftermath]:
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    seed = random.randrange(2**32)
    print(f"\nseed {seed}")
    with running(
        tmp_path_factory.mktemp("community"),
        tls=request.param,
        consent={"default": "permit"},
        repository={"registration_timeout_seconds": 2.0, "retry_seconds": 1.0},
    ) as stage:
        aftermath = asyncio.run(_killed_and_at_rest(stage, seed, LONG_KILLS if long else KILLS))
        # What pynetdicom left open goes here, and not at the end of some other test.
        gc.collect()
        yield aftermath


async def _killed_and_at_rest(stage: Stage, seed: int, kills: int) -> Aftermath:
    async with Workload.on(stage, seed) as workload:
        await workload.start()
        killer = Killer(stage, workload, seed + 1)
        await killer.kill(kills)
        await workload.stop()
        assert workload.broken() == []
        aftermath = Aftermath(stage, workload, killer.kills, read=set(workload.read))
        await _at_rest(aftermath)
        await _looked_at(aftermath)
        print(f"kills {dict(killer.kills)}, slowest start {killer.slowest_start:.1f} s, {workload.counts}")
    return aftermath


async def _at_rest(aftermath: Aftermath) -> None:
    """By itself: nobody helps, asks again or repairs."""
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until:
        aftermath.undecided = _count(
            aftermath.stage,
            Service.REPOSITORY,
            "SELECT count(*) FROM provision WHERE state IN ('pending', 'in_doubt')",
        )
        aftermath.waiting = _count(
            aftermath.stage,
            Service.IMAGING_SOURCE,
            "SELECT count(*) FROM publication WHERE state IN ('waiting', 'abandoned')",
        )
        if not aftermath.undecided and not aftermath.waiting and _all_told(aftermath):
            return
        await asyncio.sleep(0.5)


def _count(stage: Stage, service: Service, statement: str) -> int:
    with closing(database_of(stage, service)) as database:
        return int(database.execute(statement).fetchone()[0])


def _all_told(aftermath: Aftermath) -> bool:
    aftermath.messages = [told(message) for message in audit_messages(aftermath.stage)]
    return not [missing for _, missing in _untold(aftermath) if missing]


async def _looked_at(aftermath: Aftermath) -> None:
    workload = aftermath.workload
    try:
        for sent in workload.submissions.values():
            aftermath.whole[sent.set_unique_id] = await workload.check_whole(sent)
        for patient in workload.patients:
            found = await workload.find(cx(patient))
            for start in range(0, len(found), 50):
                await workload.check_bytes(found[start : start + 50])
            for entry in found:
                aftermath.visible[entry.unique_id] = entry.format_code.value
                aftermath.entries.setdefault(entry.unique_id, []).append(entry.entry_uuid)
                if entry.format_code.value == MANIFEST:
                    studies = [one.partition("^")[0] for one in entry.reference_ids]
                    for uid in set(studies) & workload.studies.keys():
                        aftermath.entries.setdefault(uid, []).append(entry.entry_uuid)
        for study in workload.studies.values():
            if study.stored:
                for _ in range(2):
                    await workload.check_study(study)
    except Away as away:
        aftermath.problems.append(f"a service that runs gave no answer: {away.__cause__}")
    report = await verified_by_service(settings_of(aftermath.stage, Service.AUDIT_REPOSITORY), "")
    aftermath.problems += map(str, report["problems"])


def _untold(aftermath: Aftermath) -> Iterator[tuple[str, set[str]]]:
    """For each kind of acknowledged work, those of which the trail says nothing."""
    workload = aftermath.workload

    def named(transaction: str, reporter: str, what: Callable[[Told], frozenset[str]]) -> set[str]:
        return {
            item
            for one in aftermath.messages
            if transaction in one.types and one.reporter == reporter and one.outcome == 0
            for item in what(one)
        }

    sets = {sent.set_unique_id for sent in aftermath.acknowledged}
    for transaction, reporter in (
        ("ITI-41", "xdsi-repository"),
        ("ITI-42", "xdsi-repository"),
        ("ITI-42", "xdsi-registry"),
    ):
        yield f"{transaction} {reporter}", sets - named(transaction, reporter, lambda one: one.objects)
    for transaction, by_c_store in (("RAD-18", True), ("RAD-108", False)):
        stored = {
            study.uid
            for study in workload.studies.values()
            if study.stored and study.by_c_store is by_c_store
        }
        yield transaction, stored - named(transaction, "xdsi-imaging-source", lambda one: one.objects)
    published = {study.uid for study in aftermath.published}
    yield "RAD-68", published - named("RAD-68", "xdsi-imaging-source", lambda one: one.objects)
    patients = {cx(patient) for patient in workload.patients}
    yield "ITI-8", patients - named("ITI-8", "xdsi-registry", lambda one: one.patients)
    yield "ITI-43", aftermath.read - named("ITI-43", "xdsi-repository", lambda one: one.objects)


# --- what must be true afterwards --------------------------------------------------------------------


def test_there_was_work_at_every_moment(aftermath: Aftermath, long: bool):
    """Otherwise what follows would prove nothing."""
    assert aftermath.kills.total() >= (LONG_KILLS if long else KILLS)
    assert set(aftermath.kills) == set(SERVICES)
    assert worked(aftermath.workload), aftermath.workload.counts


def test_nothing_that_must_never_be_was_seen(aftermath: Aftermath):
    assert aftermath.workload.violations == []


def test_every_acknowledged_submission_is_there_and_every_other_whole_or_not(aftermath: Aftermath):
    """That what is there is whole was looked at: a part would be a violation."""
    assert [
        sent.set_unique_id for sent in aftermath.acknowledged if not aftermath.whole[sent.set_unique_id]
    ] == []


def test_every_document_is_registered_once(aftermath: Aftermath):
    acknowledged = {uid for sent in aftermath.acknowledged for uid in sent.documents}

    assert acknowledged <= aftermath.visible.keys()
    assert [uid for uid in aftermath.visible if len(aftermath.entries[uid]) != 1] == []


def test_nothing_is_visible_that_nobody_sent(aftermath: Aftermath):
    sent = {uid for one in aftermath.workload.submissions.values() for uid in one.documents}
    manifests = {uid for uid, format_code in aftermath.visible.items() if format_code == MANIFEST}

    assert aftermath.visible.keys() - sent - manifests == set()


def test_every_publication_has_completed_by_itself_with_one_manifest(aftermath: Aftermath):
    assert aftermath.waiting == 0
    assert [
        study.uid for study in aftermath.published if len(aftermath.entries.get(study.uid, ())) != 1
    ] == []


def test_no_submission_is_left_in_doubt(aftermath: Aftermath):
    assert aftermath.undecided == 0


def test_the_trail_tells_of_everything_that_was_acknowledged(aftermath: Aftermath):
    assert {kind: missing for kind, missing in _untold(aftermath) if missing} == {}


def test_the_trail_is_whole(aftermath: Aftermath):
    assert aftermath.problems == []
