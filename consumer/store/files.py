"""Received instances as files: a file has its name only once it is whole and is the instance that was asked
for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

from consumer.domain.identity import InstanceIdentity, contradictions
from consumer.domain.study import RequestedInstance
from consumer.settings import ConsumerSettings
from shared.dicom.character_sets import decode, encodings_of
from shared.dicom.part10 import DataSet, DicomError, scan, uid_of

_WRITE_BYTES = 1024 * 1024


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceLimits:
    """How large one instance may be, and how long it may take to arrive."""

    max_bytes: int
    seconds: float

    @classmethod
    def of(cls, settings: ConsumerSettings) -> Self:
        """The limits of a consumer."""
        return cls(max_bytes=settings.max_instance_bytes, seconds=settings.instance_seconds)


class WrongInstance(Exception):
    """What came is not the instance that was asked for, or not DICOM at all."""


class Endless(WrongInstance):
    """What came has no end within the limits of an instance; nothing of it is kept."""


async def in_time(parts: AsyncIterable[T], limits: InstanceLimits) -> AsyncIterator[T]:
    """Yield `parts`, each of which begins in time.

    Raises
    ------
    Endless
        The next one does not.
    """
    following = aiter(parts)
    while True:
        try:
            async with asyncio.timeout(limits.seconds):
                part = await anext(following)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Endless(f"no further instance began within {limits.seconds:g} s") from None
        yield part


async def receive(chunks: AsyncIterator[bytes], folder: Path, limits: InstanceLimits) -> tuple[Path, int]:
    """Write `chunks` to a new file in `folder` as they come; the file and its size in bytes.

    Raises
    ------
    Endless
        They are more, or take longer, than an instance may.
    """
    try:
        async with asyncio.timeout(limits.seconds):
            return await _receive(chunks, folder, limits.max_bytes)
    except TimeoutError:
        raise Endless(f"an instance did not arrive within {limits.seconds:g} s") from None


async def _receive(chunks: AsyncIterator[bytes], folder: Path, max_bytes: int) -> tuple[Path, int]:
    path = folder / f"{uuid4()}.part"
    size = 0
    waiting = bytearray()
    with path.open("wb") as file:
        try:
            async for chunk in chunks:
                waiting += chunk
                size += len(chunk)
                if size > max_bytes:
                    raise Endless(f"an instance is longer than {max_bytes} bytes, the most that is taken")
                if len(waiting) >= _WRITE_BYTES:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(file.write, waiting)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path, size


def identity(path: Path) -> InstanceIdentity:
    """What a received file says that it is; blocks.

    Raises
    ------
    WrongInstance
        It is not a readable DICOM file, or not a whole one.
    """
    try:
        return _identity(path)
    except DicomError as error:
        raise WrongInstance(str(error)) from None


def _identity(path: Path) -> InstanceIdentity:
    data_set = scan(path).data_set
    encodings = encodings_of(_octets(data_set, 0x00080005))[0]
    return InstanceIdentity(
        study_instance_uid=uid_of(data_set, 0x0020000D),
        series_instance_uid=uid_of(data_set, 0x0020000E),
        sop_instance_uid=uid_of(data_set, 0x00080018),
        sop_class_uid=uid_of(data_set, 0x00080016),
        patient_id=decode(_octets(data_set, 0x00100020), encodings)[0].strip(" \0"),
        patient_name=decode(_octets(data_set, 0x00100010), encodings)[0].strip(" \0"),
    )


def _octets(data_set: DataSet, tag: int) -> bytes:
    element = data_set.get(tag)
    return element.value if element is not None and isinstance(element.value, bytes) else b""


def check(one: RequestedInstance, described: InstanceIdentity) -> None:
    """Raise `WrongInstance` unless what came is what was asked for, of the patient of its manifest."""
    if wrong := "; ".join(contradictions(one, described)):
        raise WrongInstance(wrong)


async def receive_instance(
    chunks: AsyncIterator[bytes], instance: RequestedInstance, folder: Path, limits: InstanceLimits
) -> int:
    """Receive one instance and give it its name below `folder`; its size in bytes.

    Raises
    ------
    WrongInstance
        Something else came; it is not kept.
    """
    path, size = await receive(chunks, folder, limits)
    try:
        await asyncio.to_thread(keep_instance, path, instance, folder)
    finally:
        path.unlink(missing_ok=True)
    return size


def keep_instance(path: Path, instance: RequestedInstance, folder: Path) -> None:
    """Give a received file its name below `folder`; blocks.

    Raises
    ------
    WrongInstance
        It is not this instance.
    """
    check(instance, identity(path))
    keep(path, folder / instance.file_name)


def keep(path: Path, target: Path) -> None:
    """Give a whole file its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
