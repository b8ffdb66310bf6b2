"""DCMTK sends in: C-ECHO and C-STORE, data sets to the byte, refusals with their reasons, over TLS too."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pydicom
import pytest

from imaging_source.dimse.listener import DimseListener
from imaging_source.store.transfers import find_senders
from shared.dicom.part10 import scan
from shared.settings import TlsSettings
from tests.support.certificates import communities, stranger
from tests.support.dicom import a_ct, part10, real_files
from tests.support.intake import an_intake
from tests.support.made_studies import Studies, studies

__all__ = ["studies"]


ECHOSCU, STORESCU, DCMCONV = (Path("/usr/bin") / name for name in ("echoscu", "storescu", "dcmconv"))

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not STORESCU.exists(), reason="DCMTK is not installed"),
]

# Without it Debian's DCMTK waits 40 ms for an acknowledgement of every PDU.
ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@asynccontextmanager
async def a_listener(folder: Path, **changes):
    async with an_intake(folder, **changes) as intake:
        listener = DimseListener(intake.store, intake.trail, intake.settings, intake.unit)
        await listener.start()
        try:
            yield intake, listener
        finally:
            await listener.stop()


async def run(*command: object) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *map(str, command), env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode("utf-8", "replace")


async def storescu(listener: DimseListener, *arguments: object) -> tuple[int, str]:
    return await run(
        STORESCU,
        "-v",
        "-aec",
        "XDSI",
        "-aet",
        "CT1",
        *arguments[:-1],
        "127.0.0.1",
        listener.port,
        arguments[-1],
    )


def data_set(path: Path) -> str:
    """The digest of the data set in a file."""
    return sha256(path.read_bytes()[scan(path).data_set_offset :]).hexdigest()


async def as_sent(path: Path, folder: Path, *options: str) -> str:
    """The digest of the data set as DCMTK writes it on the wire: with the lengths of sequences made anew."""
    sent = folder / "sent.dcm"
    status, output = await run(DCMCONV, "+e", "-g", *options, path, sent)
    assert status == 0, output
    return data_set(sent)


def study_of(folder: Path) -> str:
    """The Study Instance UID of the study in a folder."""
    return str(pydicom.dcmread(real_files(folder)[0], specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


async def test_it_is_answered_to_an_echo(tmp_path):
    async with a_listener(tmp_path) as (_, listener):
        status, output = await run(ECHOSCU, "-aec", "XDSI", "127.0.0.1", listener.port)

    assert status == 0, output


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (lambda studies: studies.study(studies.plain), ()),
        (lambda studies: studies.study(studies.implicit), ("-xi",)),
        (lambda studies: studies.study(studies.jpeg), ("-xs",)),
        (lambda studies: studies.variants / "1.2.840.10008.1.2.4.80", ("-xt",)),
        (lambda studies: studies.variants / "1.2.840.10008.1.2.4.90", ("-xv",)),
    ],
    ids=["explicit", "implicit", "lossless JPEG", "JPEG-LS", "JPEG 2000"],
)
async def test_a_study_arrives_data_set_by_data_set(tmp_path, studies: Studies, what, options):
    folder = what(studies)
    async with a_listener(tmp_path) as (intake, listener):
        status, output = await storescu(listener, "+sd", "+r", *options, folder)
        found = await intake.store.find_instances([path.stem for path in real_files(folder)])

    assert status == 0, output
    conversion = ("+ti",) if "-xi" in options else ()
    for path in real_files(folder):
        assert data_set(found[path.stem].path) == await as_sent(path, tmp_path, *conversion)
    assert intake.incoming == []


async def test_an_association_has_one_event_for_each_study(tmp_path, studies: Studies):
    folder = studies.study(studies.plain)
    async with a_listener(tmp_path) as (intake, listener):
        await storescu(listener, "+sd", "+r", folder)
        await storescu(listener, "+sd", "+r", folder)
        assert await find_senders(intake.database, study_of(folder)) == {"CT1"}

    created, again = intake.trail.events
    assert (created.action, again.action) == ("C", "R")
    source, destination = created.participants
    assert (source.user_id, source.network_id, source.requestor) == ("CT1", "127.0.0.1", True)
    assert (destination.user_id, destination.alternative_user_id) == ("XDSI", str(os.getpid()))
    assert sum(number for _, number in created.objects[0].sop_classes) == len(real_files(folder))


async def test_another_data_set_under_a_known_uid_is_a_failure_with_its_reason(tmp_path):
    first, other = tmp_path / "first.dcm", tmp_path / "other.dcm"
    first.write_bytes(part10(a_ct()))
    other.write_bytes(part10(a_ct(PatientID="P2")))
    async with a_listener(tmp_path) as (intake, listener):
        assert (await storescu(listener, first))[0] == 0

        _, output = await storescu(listener, other)

        (kept,) = await intake.store.find_study("2.25.11")
    assert "0x110" in output, output
    assert kept.patient_id == "P1"
    assert [event.outcome.value for event in intake.trail.events] == [0, 8]


async def test_a_calling_ae_title_that_is_not_on_the_list_is_rejected_and_recorded(tmp_path):
    file = tmp_path / "file.dcm"
    file.write_bytes(part10(a_ct()))
    async with a_listener(tmp_path, calling_ae_titles=("CT2",)) as (intake, listener):
        status, output = await storescu(listener, file)

    assert status != 0
    assert "Calling AE Title Not Recognized" in output
    assert intake.kept == []
    assert [event.event_id.code for event in intake.trail.events] == ["110113"]


async def test_a_called_ae_title_that_is_not_ours_is_rejected(tmp_path):
    async with a_listener(tmp_path) as (_, listener):
        status, output = await run(ECHOSCU, "-aec", "OTHER", "127.0.0.1", listener.port)

    assert status != 0
    assert "Called AE Title Not Recognized" in output


def tls(community) -> TlsSettings:
    return TlsSettings(certificate=community.node.certificate, key=community.node.key, trust=community.trust)


async def test_a_node_of_the_community_is_served_over_mutual_tls_and_a_stranger_is_not(tmp_path):
    north, _ = communities()
    file = tmp_path / "file.dcm"
    file.write_bytes(part10(a_ct()))
    async with a_listener(tmp_path, tls=tls(north)) as (intake, listener):
        options = ("+tls", north.node.key, north.node.certificate, "+cf", north.trust, "-ic")
        status, output = await storescu(listener, *options, file)
        assert status == 0, output
        assert len(intake.kept) == 1

        unknown = stranger()
        options = ("+tls", unknown.node.key, unknown.node.certificate, "-ic")
        assert (await storescu(listener, *options, file))[0] != 0
        assert (await storescu(listener, file))[0] != 0

    # Of one address the second refusal is counted, and told with the next.
    await intake.trail.refusals.close()
    codes = [event.event_id.code for event in intake.trail.events]
    assert codes.count("110104") == 1
    assert codes.count("110113") == 2
