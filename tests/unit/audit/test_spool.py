from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from shared.audit import segments
from shared.audit.spool import AuditUnavailable, Spool
from shared.settings import OnFull

MEGABYTE = 1024**2


@asynccontextmanager
async def opened(folder, *, max_bytes=64 * MEGABYTE, on_full=OnFull.BLOCK):
    def lost(number, reason):
        return f"lost {number}: {reason}".encode()

    spool = Spool(folder, max_bytes=max_bytes, on_full=on_full, lost=lost)
    try:
        yield spool
    finally:
        await spool.close()


async def everything(spool) -> list[bytes]:
    found = []
    while messages := await spool.reader("test").next(7):
        found += [octets for _, octets in messages]
    return found


def numbered(count, start=0):
    return [b"message %05d" % number for number in range(start, start + count)]


async def test_messages_come_out_in_the_order_in_which_they_went_in(tmp_path):
    async with opened(tmp_path) as spool:
        for message in numbered(50):
            await spool.put(message)

        assert await everything(spool) == numbered(50)
        assert await spool.reader("test").next(7) == []


async def test_many_putters_at_once_lose_nothing(tmp_path):
    async with opened(tmp_path) as spool:
        await asyncio.gather(*(spool.put(message) for message in numbered(500)))

        assert await everything(spool) == numbered(500)


async def test_what_is_not_done_comes_again_after_a_restart(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(*numbered(20))
        read = await spool.reader("test").next(20)
        await spool.reader("test").done([sequence for sequence, _ in read[:12]])

    async with opened(tmp_path) as spool:
        assert await everything(spool) == numbered(8, start=12)


async def test_rewinding_hands_out_again_what_is_not_done(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(*numbered(20))
        read = await spool.reader("test").next(15)
        await spool.reader("test").done([sequence for sequence, _ in read[:5]])
        spool.reader("test").rewind()

        assert await everything(spool) == numbered(15, start=5)


async def test_numbers_grow_over_restarts_even_when_all_was_delivered(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(b"one")
        ((first, _),) = await spool.reader("test").next(5)
        await spool.reader("test").done([first])
    for segment in tmp_path.glob("*.segment"):
        segment.unlink()

    async with opened(tmp_path) as spool:
        await spool.put(b"two")
        ((second, octets),) = await spool.reader("test").next(5)
        assert second > first
        assert octets == b"two"


async def test_delivered_segments_are_removed(tmp_path):
    async with opened(tmp_path, max_bytes=8 * MEGABYTE) as spool:
        for _ in range(30):
            await spool.put(b"x" * 100_000)
        assert len(list(tmp_path.glob("*.segment"))) > 2

        while read := await spool.reader("test").next(5):
            await spool.reader("test").done([sequence for sequence, _ in read])

        assert len(list(tmp_path.glob("*.segment"))) == 1
        assert spool.waiting == 0


async def test_a_message_put_while_reading_is_read_next(tmp_path):
    async with opened(tmp_path) as spool:
        await spool.put(b"one")
        assert await everything(spool) == [b"one"]
        await spool.put(b"two")
        assert await everything(spool) == [b"two"]


async def test_a_full_spool_blocks_and_goes_on_when_there_is_room(tmp_path):
    async with opened(tmp_path, max_bytes=MEGABYTE) as spool:
        for _ in range(10):
            await spool.put(b"x" * 100_000)
        assert spool.fill > 0.9
        with pytest.raises(AuditUnavailable):
            await spool.put(b"x" * 100_000)

        kept = 0
        while read := await spool.reader("test").next(5):
            kept += len(read)
            await spool.reader("test").done([sequence for sequence, _ in read])
        assert kept == 10
        await spool.put(b"x" * 100_000)
        await spool.check()


async def test_a_full_spool_is_not_ready(tmp_path):
    async with opened(tmp_path, max_bytes=MEGABYTE) as spool:
        await spool.check()
        while spool.fill < 0.99:
            await spool.put(b"x" * 5_000)

        with pytest.raises(AuditUnavailable):
            await spool.check()


async def test_a_full_spool_that_may_drop_says_how_many_were_lost(tmp_path):
    async with opened(tmp_path, max_bytes=MEGABYTE, on_full=OnFull.DROP) as spool:
        for message in numbered(100):
            await spool.put(message + b"x" * 30_000)

        read = await everything(spool)

        lost = [octets for octets in read if octets.startswith(b"lost")]
        kept = [octets[:13] for octets in read if not octets.startswith(b"lost")]
        assert kept == numbered(len(kept), start=100 - len(kept))
        total = int(lost[-1].partition(b"(")[2].split()[0])
        # records of loss that were dropped themselves are counted too
        assert 100 <= total + len(kept) <= 120
        assert spool.fill <= 1


async def test_one_message_that_never_fits_is_refused_and_the_next_is_kept(tmp_path):
    async with opened(tmp_path, max_bytes=MEGABYTE, on_full=OnFull.DROP) as spool:
        with pytest.raises(AuditUnavailable):
            await spool.put(b"x" * 2 * MEGABYTE)
        await spool.put(b"small")

        assert await everything(spool) == [b"small"]


async def test_two_processes_cannot_share_a_spool(tmp_path):
    async with opened(tmp_path):
        with pytest.raises(AuditUnavailable, match="another process"):
            async with opened(tmp_path):
                pass


async def test_a_closed_spool_refuses(tmp_path):
    async with opened(tmp_path) as spool:
        pass
    with pytest.raises(AuditUnavailable):
        await spool.put(b"late")


async def test_messages_put_together_stand_together(tmp_path):
    async with opened(tmp_path) as spool:
        await asyncio.gather(spool.put(b"a1", b"a2", b"a3"), spool.put(b"b1", b"b2", b"b3"))

        read = await everything(spool)

        assert read in (
            [b"a1", b"a2", b"a3", b"b1", b"b2", b"b3"],
            [b"b1", b"b2", b"b3", b"a1", b"a2", b"a3"],
        )


def test_a_frame_is_found_behind_damage():
    octets = bytearray(b"".join(segments.frame(number, b"message") for number in range(1, 4)))
    octets[segments.OVERHEAD + 2] ^= 1

    found = list(segments.frames(bytes(octets)))

    assert [item.sequence for item in found] == [2, 3]
    assert found[0].skipped == segments.OVERHEAD + len(b"message")


def test_damage_in_any_one_octet_costs_one_frame_alone():
    whole = b"".join(segments.frame(number, b"message %d" % number) for number in range(1, 6))
    for at in range(len(whole)):
        octets = bytearray(whole)
        octets[at] ^= 0x55

        found = [item.octets for item in segments.frames(bytes(octets))]

        assert len(found) == 4


# --- several destinations ------------------------------------------------------------------------------


async def some(spool, name, most=1_000) -> list[bytes]:
    return [octets for _, octets in await spool.reader(name).next(most)]


async def test_every_destination_has_everything_in_its_own_time(tmp_path):
    async with opened(tmp_path) as spool:
        fast, slow = spool.readers(["fast", "slow"])
        await spool.put(*numbered(20))
        read = await fast.next(20)
        await fast.done([sequence for sequence, _ in read])
        assert await some(spool, "slow", 5) == numbered(5)
        slow.rewind()
        assert await some(spool, "slow") == numbered(20)
        assert await some(spool, "fast") == []
        assert spool.waiting == 20

    async with opened(tmp_path) as spool:
        assert await some(spool, "slow") == numbered(20)
        assert await some(spool, "fast") == []


async def test_a_segment_stays_until_every_destination_has_it(tmp_path):
    async with opened(tmp_path, max_bytes=2 * MEGABYTE) as spool:
        readers = spool.readers(["one", "other"])
        for _ in range(10):
            await spool.put(b"x" * 100_000)
        left = []
        for reader in readers:
            while read := await reader.next(5):
                await reader.done([sequence for sequence, _ in read])
            left.append(len(list(tmp_path.glob("*.segment"))))
        assert left[0] > 3
        assert left[1] == 1


async def test_a_destination_that_is_away_blocks_nothing_until_the_bound(tmp_path):
    async with opened(tmp_path, max_bytes=2 * MEGABYTE) as spool:
        there, _ = spool.readers(["there", "away"])
        had = 0
        while spool.fill < 0.9:
            await spool.put(b"x" * 100_000)
            read = await there.next(5)
            await there.done([sequence for sequence, _ in read])
            had += len(read)
        assert had > 15
        with pytest.raises(AuditUnavailable):
            await spool.put(b"x" * MEGABYTE)


async def test_a_new_destination_begins_with_what_another_has_not_had(tmp_path):
    async with opened(tmp_path) as spool:
        (old,) = spool.readers(["old"])
        await spool.put(*numbered(20))
        await old.done([(await old.next(12))[-1][0]])
        spool.readers(["old", "new"])
        assert await some(spool, "new") == numbered(8, 12)


async def test_what_was_owed_to_a_destination_is_owed_to_the_one_in_its_place(tmp_path):
    async with opened(tmp_path) as spool:
        one, _ = spool.readers(["one", "former"])
        await spool.put(*numbered(20))
        await one.done([(await one.next(20))[-1][0]])

    async with opened(tmp_path) as spool:
        spool.readers(["one", "latter"])
        assert await some(spool, "one") == []
        assert await some(spool, "latter") == numbered(20)
    assert {path.name for path in tmp_path.glob("cursor*")} == {"cursor-one", "cursor-latter"}


async def test_a_destination_that_is_named_no_more_keeps_nothing(tmp_path):
    async with opened(tmp_path, max_bytes=2 * MEGABYTE) as spool:
        one, _ = spool.readers(["one", "former"])
        for _ in range(10):
            await spool.put(b"x" * 100_000)
        while read := await one.next(5):
            await one.done([sequence for sequence, _ in read])
        spool.readers(["one"])
        assert len(list(tmp_path.glob("*.segment"))) == 1


async def test_what_an_older_release_had_sent_is_not_sent_again(tmp_path):
    async with opened(tmp_path) as spool:
        (only,) = spool.readers(["only"])
        await spool.put(*numbered(20))
        await only.done([(await only.next(12))[-1][0]])
    (tmp_path / "cursor-only").rename(tmp_path / "cursor")

    async with opened(tmp_path) as spool:
        spool.readers(["one", "other"])
        assert await some(spool, "one") == await some(spool, "other") == numbered(8, 12)
    assert not (tmp_path / "cursor").exists()


async def test_a_number_is_new_to_every_reader_even_when_nothing_is_left_on_disk(tmp_path):
    async with opened(tmp_path) as spool:
        spool.readers(["one", "other"])
        await spool.put(*numbered(3))
        await spool.reader("other").done([(await spool.reader("other").next(3))[-1][0]])
    for segment in tmp_path.glob("*.segment"):
        segment.unlink()

    async with opened(tmp_path) as spool:
        await spool.put(b"new")
        assert await some(spool, "one") == await some(spool, "other") == [b"new"]
