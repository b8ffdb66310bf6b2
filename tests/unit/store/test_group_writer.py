import asyncio
import threading

import pytest

from shared.store.writer import GroupWriter, WriterClosed


class Recording:
    """A write that notes its batches and can be held up."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, batch):
        self.gate.wait(10)
        self.batches.append(list(batch))
        return [item * 2 for item in batch]


@pytest.fixture
def write():
    return Recording()


@pytest.fixture
async def writer(write):
    writer = GroupWriter(write, name="test-writer", largest_batch=10)
    yield writer
    write.gate.set()
    await writer.close()


async def test_each_caller_gets_the_result_of_its_own_item(writer):
    assert await asyncio.gather(*(writer.put(number) for number in range(25))) == [
        number * 2 for number in range(25)
    ]


async def test_what_comes_during_a_write_is_one_batch_of_at_most_the_largest_size(writer, write):
    write.gate.clear()
    first = asyncio.ensure_future(writer.put(0))
    await asyncio.sleep(0.05)
    others = [asyncio.ensure_future(writer.put(number)) for number in range(1, 13)]
    await asyncio.sleep(0)
    write.gate.set()
    await asyncio.gather(first, *others)

    assert write.batches == [[0], list(range(1, 11)), [11, 12]]


async def test_items_of_one_turn_of_the_loop_share_a_batch(writer, write):
    await asyncio.gather(writer.put(1), writer.put(2), writer.put(3))

    assert write.batches == [[1, 2, 3]]


async def test_a_queued_item_is_carried_out_although_its_caller_is_gone(writer, write):
    write.gate.clear()
    busy = asyncio.ensure_future(writer.put(1))
    await asyncio.sleep(0.05)
    gone = asyncio.ensure_future(writer.put(2))
    await asyncio.sleep(0)
    gone.cancel()
    write.gate.set()
    await busy
    await writer.put(3)

    assert [item for batch in write.batches for item in batch] == [1, 2, 3]
    assert gone.cancelled()


async def test_a_raising_write_fails_every_item_of_the_batch_and_the_next_batch_is_taken():
    failing = [True]

    def write(batch):
        if failing[0]:
            raise OSError("no space left on device")
        return batch

    writer = GroupWriter(write, name="test-writer")
    outcomes = await asyncio.gather(writer.put(1), writer.put(2), return_exceptions=True)
    failing[0] = False

    assert [str(outcome) for outcome in outcomes] == ["no space left on device"] * 2
    assert await writer.put(3) == 3
    await writer.close()


async def test_a_result_that_is_an_exception_fails_its_item_alone():
    writer = GroupWriter(
        lambda batch: [ValueError(item) if item == 2 else item for item in batch], name="test-writer"
    )
    outcomes = await asyncio.gather(*(writer.put(number) for number in (1, 2, 3)), return_exceptions=True)

    assert outcomes[0] == 1
    assert outcomes[2] == 3
    assert isinstance(outcomes[1], ValueError)
    await writer.close()


async def test_a_write_with_too_few_results_acknowledges_nothing():
    writer = GroupWriter(lambda batch: [], name="test-writer")
    with pytest.raises(RuntimeError, match="another number of results"):
        await writer.put(1)
    await writer.close()


async def test_closing_carries_out_what_is_queued_and_refuses_what_comes_after(write):
    writer = GroupWriter(write, name="test-writer")
    write.gate.clear()
    queued = [asyncio.ensure_future(writer.put(number)) for number in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(writer.close())
    write.gate.set()
    await closing

    assert await asyncio.gather(*queued) == [0, 2, 4]
    with pytest.raises(WriterClosed):
        await writer.put(4)


async def test_idle_is_called_once_after_a_batch(write):
    calls = []
    called = asyncio.Event()
    loop = asyncio.get_running_loop()

    def idle():
        calls.append(len(write.batches))
        loop.call_soon_threadsafe(called.set)

    writer = GroupWriter(write, name="test-writer", idle=idle, idle_seconds=0.01)
    await writer.put(1)
    await called.wait()
    called.clear()
    await asyncio.sleep(0.05)
    assert calls[-1] == 1
    assert len(calls) <= 2
    await writer.put(2)
    await called.wait()
    assert calls[-1] == 2
    await writer.close()
