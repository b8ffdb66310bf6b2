"""Many records at once are read in a process of their own, which may end at any moment without ending the
trail.
"""

from __future__ import annotations

import asyncio
import errno
import multiprocessing.util
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from multiprocessing import resource_tracker
from pathlib import Path

import pytest

from audit_repository.app import AuditRepository, build
from audit_repository.background.reader import ReadingProcess
from audit_repository.domain.record import RecordState, reading_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search, StoredRecord
from audit_repository.transactions.iti20 import INLINE_BYTES
from shared.audit.recorder import message
from shared.audit.syslog import frame
from shared.telemetry.metrics import Metrics
from tests.support.audit import SOURCE, an_event
from tests.support.ends_its_reader import EndsItsReader
from tests.support.waiting import until

MESSAGES = [message(an_event(), SOURCE), b"<85>1 what is this", *(message(an_event(), SOURCE),) * 6]


def is_alive(pid: int) -> bool:
    """Whether it runs; what has ended and nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@asynccontextmanager
async def a_reader() -> AsyncIterator[ReadingProcess]:
    reader = ReadingProcess(Metrics("tests"))
    try:
        yield reader
    finally:
        await reader.close()


async def test_what_is_read_there_is_what_would_be_read_here():
    async with a_reader() as reader:
        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))


async def test_a_record_over_which_the_process_ends_is_unparsed_and_all_others_are_read():
    came = [*MESSAGES[:3], EndsItsReader(b"x"), *MESSAGES[3:]]
    async with a_reader() as reader:
        ill, well = await asyncio.gather(reader.readings(came), reader.readings(MESSAGES))

    assert ill.pop(3).reason == "whatever read it ended over it"
    assert ill == well == list(map(reading_of, MESSAGES))


async def test_a_process_is_begun_twice_for_a_record_over_which_it_ends_however_many_came_with_it(
    monkeypatch: pytest.MonkeyPatch,
):
    begun = starts(monkeypatch)
    async with a_reader() as reader:
        readings = await reader.readings([*MESSAGES * 25, EndsItsReader(b"x")])

    assert readings[-1].reason == "whatever read it ended over it"
    assert len(begun) == 3


async def test_a_process_that_somebody_ends_is_begun_anew():
    async with a_reader() as reader:
        await reader.readings(MESSAGES)
        os.kill(reader.pid, signal.SIGKILL)

        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))


async def test_the_process_ends_with_a_service_that_is_killed():
    program = (
        "import asyncio\n"
        "from audit_repository.background.reader import ReadingProcess\n"
        "from shared.telemetry.metrics import Metrics\n"
        "async def main():\n"
        "    reader = ReadingProcess(Metrics('tests'))\n"
        "    await reader.readings([b'x'])\n"
        "    print(reader.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert service.stdout is not None
    reader = int(await service.stdout.readline())
    assert is_alive(reader)

    service.kill()
    await service.wait()

    await until(lambda: not is_alive(reader))


async def test_a_stream_of_many_records_is_kept_in_its_order(tmp_path: Path):
    sent = [
        message(an_event(), SOURCE) + b" " * number  # each is another message
        for number in range(100)
    ]
    assert sum(map(len, sent)) > INLINE_BYTES

    async with a_service(tmp_path) as service:
        found = await kept_of(service, sent)
        assert service.reader.pid

    assert [one.record.raw for one in reversed(found)] == sent
    assert {one.record.state for one in found} == {RecordState.PARSED}


@pytest.mark.parametrize("fault", ["refused", "ends at once"])
async def test_records_are_read_in_the_service_where_no_process_can_be_begun_for_it(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    begun = starts(monkeypatch, fault)
    metrics = Metrics("tests")
    reader = ReadingProcess(metrics)

    for _ in range(2):
        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))

    await reader.close()
    assert len(begun) == 1, "another is not begun for each batch"
    assert f"xdsi_audit_records_read_in_service_total {2 * len(MESSAGES)}.0" in metrics.render().decode()
    (told,) = [line for line in caplog.messages if "cannot be begun" in line]
    assert "read in the service itself" in told


async def test_after_a_while_a_process_is_begun_where_none_could_be(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("audit_repository.background.reader.PAUSE_SECONDS", 0)
    async with a_reader() as reader:
        with monkeypatch.context() as ill:
            starts(ill, "refused")
            await reader.readings(MESSAGES)
            assert reader.pid is None

        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))
        assert reader.pid


async def test_a_stream_is_kept_parsed_where_no_process_can_be_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    starts(monkeypatch, "refused")
    sent = [message(an_event(), SOURCE) + b" " * number for number in range(100)]

    async with a_service(tmp_path) as service:
        found = await kept_of(service, sent)
        assert service.reader.pid is None

    assert [one.record.raw for one in reversed(found)] == sent
    assert {one.record.state for one in found} == {RecordState.PARSED}


def starts(monkeypatch: pytest.MonkeyPatch, fault: str = "") -> list[object]:
    """Processes that are begun from now on, `refused` by the system or of a program that `ends at once`."""
    resource_tracker.ensure_running()  # is begun in the same way
    begun: list[object] = []

    def start(path: object, arguments: list[bytes], descriptors: list[int]) -> int:
        begun.append(arguments)
        if fault == "refused":
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return real(b"/bin/false" if fault else path, arguments, descriptors)

    real = multiprocessing.util.spawnv_passfds
    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", start)
    return begun


async def kept_of(service: AuditRepository, sent: Sequence[bytes]) -> list[StoredRecord]:
    """What is kept of a stream that somebody sends at once, the newest first."""
    before = service.trail.sequence
    _, writer = await asyncio.open_connection("127.0.0.1", service.syslog.port)
    writer.write(b"".join(map(frame, sent)))
    await writer.drain()
    await until(lambda: service.trail.sequence >= before + len(sent))
    writer.close()
    return await service.trail.search(Search(source=SOURCE.source_id, limit=200))


@asynccontextmanager
async def a_service(folder: Path) -> AsyncIterator[AuditRepository]:
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=0))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
