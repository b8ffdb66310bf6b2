"""Fetched images are kept sealed, in bounded space, and no longer than they are used."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.store.image_cache import ImageCache
from consumer.store.sealed import SealedFile, Sealing
from shared.http.pieces import BodyBroken
from tests.support.dicom import a_ct, part10


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_cache(folder: Path, **changes: float) -> ImageCache:
    values = {"max_bytes": 4 * 1024**2, "max_seconds": 60.0, **changes}
    return ImageCache(folder / "images", **values)  # type: ignore[arg-type]


def arrived(folder: Path, cache: ImageCache, number: int):
    path = folder / f"{number}.dcm"
    path.write_bytes(part10(a_ct(SOPInstanceUID=f"1.2.3.{number}", PatientName="Secret^Name")))
    cached = cache.described(path)
    cache.keep(cached)
    return path, cached


def in_a_file(path: Path, *things: list[bytes]) -> list[SealedFile]:
    with closing(Sealing(path)) as sealing:
        return [sealing.add(iter(chunks)) for chunks in things]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_what_is_sealed_opens_to_what_it_was(tmp_path: Path, size: int):
    octets = bytes(number % 251 for number in range(size))

    (sealed,) = in_a_file(tmp_path / "sealed", [octets[:100], octets[100:]])

    assert sealed.octets() == octets
    assert sealed.size == size


@given(data=st.data())
def test_a_part_of_what_is_sealed_is_that_of_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
):
    octets = bytes(number % 251 for number in range(data.draw(st.integers(0, 200_000))))
    offset = data.draw(st.integers(0, len(octets)))
    length = data.draw(st.integers(0, len(octets) - offset))

    sealed = in_a_file(tmp_path_factory.mktemp("sealed") / "file", [b"before"], [octets], [b"behind"])[1]

    assert b"".join(sealed.part(offset, length)) == octets[offset : offset + length]


def test_no_word_of_an_image_stands_on_the_disk(tmp_path: Path):
    path, cached = arrived(tmp_path, cache := a_cache(tmp_path), 1)

    assert cached.content.octets() == path.read_bytes()
    assert b"Secret" in cached.metadata.octets()
    kept = [file.read_bytes() for file in (tmp_path / "images").iterdir()]
    assert len(kept) == 1
    assert not any(b"Secret" in octets or b"DICM" in octets for octets in kept)
    assert cache.size == cached.size


def test_what_was_changed_on_the_disk_is_not_given(tmp_path: Path):
    _, cached = arrived(tmp_path, a_cache(tmp_path), 1)
    octets = bytearray(cached.content.path.read_bytes())
    octets[20] ^= 1
    cached.content.path.write_bytes(octets)

    with pytest.raises(BodyBroken):
        cached.content.octets()


def test_what_was_not_used_for_longest_makes_room_and_what_is_in_use_does_not(tmp_path: Path):
    _, probe = arrived(tmp_path, a_cache(tmp_path), 0)
    cache = a_cache(tmp_path, max_bytes=int(probe.size * 2.5))
    _, first = arrived(tmp_path, cache, 1)
    _, second = arrived(tmp_path, cache, 2)
    assert cache.use(first)

    _, third = arrived(tmp_path, cache, 3)

    assert [one.is_gone for one in (first, second, third)] == [False, True, False]
    assert cache.use(third)
    with pytest.raises(OSError, match="full of what is in use"):
        arrived(tmp_path, cache, 4)
    assert cache.size <= cache.max_bytes
    assert len(list((tmp_path / "images").iterdir())) == 2


async def test_what_was_not_used_for_a_while_is_forgotten(tmp_path: Path):
    clock = Clock()
    cache = ImageCache(tmp_path / "images", max_bytes=2**22, max_seconds=60, clock=clock)
    _, one = arrived(tmp_path, cache, 1)
    clock.now = 59
    await cache.forget_old()
    assert not one.is_gone
    clock.now = 61
    await cache.forget_old()

    assert one.is_gone
    assert list((tmp_path / "images").iterdir()) == []


def test_nothing_outlives_a_start(tmp_path: Path):
    arrived(tmp_path, a_cache(tmp_path), 1)

    a_cache(tmp_path)

    assert list((tmp_path / "images").iterdir()) == []
