"""Many records at once are read in a process of their own, which may end at any moment without ending the
trail.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from audit_repository.app import AuditRepository, build
from audit_repository.background.reader import ReadingProcess
from audit_repository.domain.record import RecordState, reading_of
from audit_repository.settings import AuditRepositorySettings
from audit_repository.store.events import Search
from audit_repository.transactions.iti20 import INLINE_BYTES
from shared.audit.recorder import message
from shared.audit.syslog import frame
from tests.support.audit import SOURCE, an_event
from tests.support.waiting import until

MESSAGES = [message(an_event(), SOURCE), b"<85>1 what is this", *(message(an_event(), SOURCE),) * 6]


class EndsTheProcess(bytes):
    """Octets over which whoever takes them in another process ends."""

    def __reduce__(self):
        return os._exit, (9,)


def is_alive(pid: int) -> bool:
    """Whether it runs; what has ended and nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@asynccontextmanager
async def a_reader() -> AsyncIterator[ReadingProcess]:
    reader = ReadingProcess()
    try:
        yield reader
    finally:
        await reader.close()


async def test_what_is_read_there_is_what_would_be_read_here():
    async with a_reader() as reader:
        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))


async def test_a_record_over_which_the_process_ends_is_unparsed_and_all_others_are_read():
    for place in (0, 3, len(MESSAGES)):
        came = [*MESSAGES[:place], EndsTheProcess(b"x"), *MESSAGES[place:]]
        async with a_reader() as reader:
            ill, well = await asyncio.gather(reader.readings(came), reader.readings(MESSAGES))

        assert ill.pop(place).reason == "whatever read it ended over it"
        assert ill == well == list(map(reading_of, MESSAGES))


async def test_a_process_that_somebody_ends_is_begun_anew():
    async with a_reader() as reader:
        await reader.readings(MESSAGES)
        os.kill(reader.pid, signal.SIGKILL)

        assert await reader.readings(MESSAGES) == list(map(reading_of, MESSAGES))


async def test_the_process_ends_with_a_service_that_is_killed():
    program = (
        "import asyncio\n"
        "from audit_repository.background.reader import ReadingProcess\n"
        "async def main():\n"
        "    reader = ReadingProcess()\n"
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
    stream = b"".join(map(frame, sent))
    assert len(stream) > INLINE_BYTES

    async with a_service(tmp_path) as service:
        before = service.trail.sequence
        _, writer = await asyncio.open_connection("127.0.0.1", service.syslog.port)
        writer.write(stream)
        await writer.drain()
        await until(lambda: service.trail.sequence >= before + len(sent))
        writer.close()
        found = await service.trail.search(Search(source=SOURCE.source_id, limit=200))
        assert service.reader.pid

    assert [one.record.raw for one in reversed(found)] == sent
    assert {one.record.state for one in found} == {RecordState.PARSED}


@asynccontextmanager
async def a_service(folder: Path) -> AsyncIterator[AuditRepository]:
    service = await build(AuditRepositorySettings(data=folder, port=0, syslog_port=0))
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
