"""Received instances as files: a file has its name only once it is whole and is the instance that was asked
for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

from consumer.domain.study import Wanted
from shared.dicom.part10 import DicomError, scan, uid_of

_SOP_INSTANCE_UID = 0x00080018
_WRITE_BYTES = 1024 * 1024


class WrongInstance(Exception):
    """What came is not the instance that was asked for, or not DICOM at all."""


async def receive(chunks: AsyncIterator[bytes], folder: Path) -> tuple[Path, int]:
    """Write `chunks` to a new file in `folder` as they come; the file and its size in bytes."""
    path = folder / f"{uuid4()}.part"
    size = 0
    waiting = bytearray()
    with path.open("wb") as file:
        try:
            async for chunk in chunks:
                waiting += chunk
                size += len(chunk)
                if len(waiting) >= _WRITE_BYTES:
                    await asyncio.to_thread(file.write, bytes(waiting))
                    waiting.clear()
            file.write(waiting)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return path, size


async def sop_instance_uid(path: Path) -> str:
    """The SOP Instance UID of a received file.

    Raises
    ------
    WrongInstance
        It is not a readable DICOM file.
    """
    try:
        return uid_of((await asyncio.to_thread(scan, path)).data_set, _SOP_INSTANCE_UID)
    except DicomError as error:
        raise WrongInstance(str(error)) from None


async def receive_instance(chunks: AsyncIterator[bytes], wanted: Wanted, folder: Path) -> int:
    """Receive one instance and give it its name below `folder`; its size in bytes.

    Raises
    ------
    WrongInstance
        Something else came; it is not kept.
    """
    path, size = await receive(chunks, folder)
    try:
        found = await sop_instance_uid(path)
        if found != wanted.sop_instance_uid:
            raise WrongInstance(f"instance {found} came instead of {wanted.sop_instance_uid}")
        keep(path, folder / wanted.file_name)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return size


def keep(path: Path, target: Path) -> None:
    """Give a whole file its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path.replace(target)
