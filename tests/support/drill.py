"""What a drill needs that restores a community: people at work, what was acknowledged to them, and whether it
is all there again."""

from __future__ import annotations

import asyncio
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from lxml import etree

from shared.audit import syslog
from tests.support.community import cx, permit, settings_of
from tests.support.trail import told
from tests.support.workload import SentStudy, Workload
from xdsi.audit import verified_by_service
from xdsi.consent import ask_registry
from xdsi.services import Service
from xdsi.stage import Stage

SCRIPTS = Path(__file__).parents[2] / "deploy" / "backup"


async def script(name: str, *words: str, environment: Mapping[str, str], at: Sequence[str] = ()) -> str:
    """What a script of `deploy/backup` said, which has to succeed; by the words `at` it runs elsewhere."""
    process = await asyncio.create_subprocess_exec(
        *at, str(SCRIPTS / name), *words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, said.decode()
    return said.decode()


@dataclass(frozen=True)
class Acknowledged:
    """What was acknowledged at a moment."""

    submissions: frozenset[str]
    documents: frozenset[str]
    studies: dict[str, SentStudy]
    patients: tuple[str, ...]
    policies: frozenset[str]

    @classmethod
    async def by_now(cls, workload: Workload) -> Acknowledged:
        sent = [one for one in workload.submissions.values() if one.acknowledged]
        studies = {
            uid: replace(study, stored=set(study.stored))
            for uid, study in workload.studies.items()
            if study.stored
        }
        patients = tuple(workload.patients)
        return cls(
            frozenset(one.set_unique_id for one in sent),
            frozenset(uid for one in sent for uid in one.documents),
            studies,
            patients,
            await policies_of(workload.stage, patients),
        )


async def policies_of(stage: Stage, patients: tuple[str, ...]) -> frozenset[str]:
    """The ids of the policies of patients."""
    settings = settings_of(stage, Service.REGISTRY)
    answers = [await ask_registry(settings, "policies", {"patient_id": cx(patient)}) for patient in patients]
    return frozenset(policy["policy_id"] for answer in answers for policy in answer["policies"])


async def registrations_in_trail(database_url: str) -> set[str]:
    """The submission sets of which the trail in a PostgreSQL says that they were provided and registered."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch("SELECT raw FROM audit_repository.audit_record")
    finally:
        await connection.close()
    records = [told(etree.fromstring(syslog.parse(row["raw"]).body)) for row in rows]
    named = [
        {
            uid
            for one in records
            if transaction in one.types and one.reporter == reporter
            for uid in one.objects
        }
        for transaction, reporter in (("ITI-41", "xdsi-repository"), ("ITI-42", "xdsi-registry"))
    ]
    return named[0] & named[1]


@asynccontextmanager
async def at_work(stage: Stage) -> AsyncIterator[Workload]:
    """People at work, who set policies too."""
    async with Workload.on(stage, random.randrange(2**32)) as workload:
        await workload.start()
        await permit(stage, *workload.patients)
        try:
            yield workload
        finally:
            # Also when it failed: whoever goes on asks services that are gone, and the test does not end.
            await workload.stop()


def is_busy(workload: Workload, times: int) -> bool:
    return all(workload.counts[kind] >= times for kind in ("provided", "publication taken", "read study"))


async def all_of_it_is_there(database_url: str, stage: Stage, sent: Workload, before: Acknowledged) -> None:
    """Whatever was acknowledged before the backup is there, what came later is whole or not there, and the
    trail, in this PostgreSQL, is whole."""
    async with Workload.on(stage, 1) as restored:
        restored.submissions, restored.studies = sent.submissions, before.studies
        for submission in sent.submissions.values():
            whole = await restored.check_whole(submission)
            assert whole or submission.set_unique_id not in before.submissions
        visible = set[str]()
        for patient in before.patients:
            found = await restored.find(cx(patient))
            visible |= {entry.unique_id for entry in found}
            await restored.check_bytes(found)
        assert before.documents <= visible
        for study in before.studies.values():
            await restored.check_study(study)
        assert restored.violations == []
        assert await policies_of(stage, before.patients) == before.policies

        until_told = time.monotonic() + 60
        while not before.submissions <= await registrations_in_trail(database_url):
            assert time.monotonic() < until_told, "the trail lacks what was acknowledged"
            await asyncio.sleep(0.5)
        report = await verified_by_service(settings_of(stage, Service.AUDIT_REPOSITORY), "")
        assert report["problems"] == []


@contextmanager
def folder_of_postgres() -> Iterator[Path]:
    """A folder into which the user postgres comes."""
    folder = Path(tempfile.mkdtemp(prefix="xdsi-drill-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
