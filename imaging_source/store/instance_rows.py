"""Rows of an instance, and the values that they are."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, delete, insert, update

from imaging_source.store.tables import instance, instance_metadata, pixel_data
from shared.imaging.description import InstanceDescription
from shared.imaging.instance import Instance, Issuer
from shared.imaging.pixels import FrameFragments, PixelData
from shared.store.engine import Row, Transaction
from shared.store.statements import insert_or_ignore

_INSERT = insert_or_ignore(instance).values({column.name: bindparam(column.name) for column in instance.c})
_INSERT_METADATA = insert(instance_metadata).values(
    sop_instance_uid=bindparam("sop_instance_uid"), json=bindparam("json")
)
_INSERT_PIXELS = insert(pixel_data).values({column.name: bindparam(column.name) for column in pixel_data.c})
_MOVE = (
    update(instance)
    .where(instance.c.sop_instance_uid == bindparam("uid"))
    .values(sha256=bindparam("new_sha256"), size=bindparam("new_size"))
)
_REMOVE = delete(instance).where(
    instance.c.sop_instance_uid == bindparam("uid"), instance.c.sha256 == bindparam("as_seen")
)
_FORGET_METADATA = delete(instance_metadata).where(instance_metadata.c.sop_instance_uid == bindparam("uid"))
_FORGET_PIXELS = delete(pixel_data).where(pixel_data.c.sop_instance_uid == bindparam("uid"))

#: What `instance_of` is given, by the same names.
INSTANCE_COLUMNS = (
    instance.c.sop_instance_uid,
    instance.c.study_instance_uid,
    instance.c.series_instance_uid,
    instance.c.sop_class_uid,
    instance.c.transfer_syntax_uid,
    instance.c.size,
    instance.c.sha256,
    instance.c.patient_id,
    instance.c.issuer_local,
    instance.c.issuer_universal_id,
    instance.c.issuer_universal_id_type,
    instance.c.accession_number,
    instance.c.modality,
    instance.c.series_number,
    instance.c.instance_number,
    instance.c.number_of_frames,
    instance.c.rows,
    instance.c.columns,
    instance.c.samples_per_pixel,
    instance.c.bits_allocated,
    instance.c.has_pixels,
    instance.c.metadata_size,
    instance.c.received_at,
)
#: What `pixels_of` is given.
PIXEL_COLUMNS = (pixel_data.c.offset, pixel_data.c.length, pixel_data.c.fragments)

# A study has hundreds of rows, and one issuer.
_issuer = lru_cache(maxsize=256)(Issuer)


def instance_of(row: Row, file_name: Callable[[str], str]) -> Instance:
    """The instance of a row of `INSTANCE_COLUMNS`; `file_name` says which file has a SHA-256."""
    (
        sop_instance_uid,
        study_instance_uid,
        series_instance_uid,
        sop_class_uid,
        transfer_syntax_uid,
        size,
        sha256,
        patient_id,
        issuer_local,
        issuer_universal_id,
        issuer_universal_id_type,
        accession_number,
        modality,
        series_number,
        instance_number,
        number_of_frames,
        rows,
        columns,
        samples_per_pixel,
        bits_allocated,
        has_pixels,
        metadata_size,
        received_at,
    ) = row
    return Instance(
        sop_instance_uid=sop_instance_uid,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=transfer_syntax_uid,
        size=size,
        sha256=sha256,
        patient_id=patient_id,
        accession_number=accession_number,
        modality=modality,
        series_number=series_number,
        instance_number=instance_number,
        number_of_frames=number_of_frames,
        rows=rows,
        columns=columns,
        samples_per_pixel=samples_per_pixel,
        bits_allocated=bits_allocated,
        metadata_size=metadata_size,
        file=file_name(sha256),
        issuer_of_patient_id=_issuer(issuer_local, issuer_universal_id, issuer_universal_id_type),
        has_pixels=bool(has_pixels),
        received_at=datetime.fromisoformat(received_at),
    )


def _instance_values(described: InstanceDescription) -> dict[str, Any]:
    it = described.instance
    issuer = it.issuer_of_patient_id
    return {
        "sop_instance_uid": it.sop_instance_uid,
        "study_instance_uid": it.study_instance_uid,
        "series_instance_uid": it.series_instance_uid,
        "sop_class_uid": it.sop_class_uid,
        "transfer_syntax_uid": it.transfer_syntax_uid,
        "size": it.size,
        "sha256": it.sha256,
        "patient_id": it.patient_id,
        "accession_number": it.accession_number,
        "modality": it.modality,
        "series_number": it.series_number,
        "instance_number": it.instance_number,
        "number_of_frames": it.number_of_frames,
        "rows": it.rows,
        "columns": it.columns,
        "samples_per_pixel": it.samples_per_pixel,
        "bits_allocated": it.bits_allocated,
        "metadata_size": it.metadata_size,
        "issuer_local": issuer.local,
        "issuer_universal_id": issuer.universal_id,
        "issuer_universal_id_type": issuer.universal_id_type,
        "has_pixels": int(it.has_pixels),
        "received_at": it.received_at.isoformat(),
        "header": described.header,
        "attributes": described.attributes,
    }


def pixels_of(row: Row) -> PixelData:
    """The place of pixel data, of a row of `PIXEL_COLUMNS`."""
    offset, length, fragments = row
    return PixelData(offset, length, None if fragments is None else FrameFragments(fragments))


def _pixel_values(sop_instance_uid: str, pixels: PixelData) -> dict[str, Any]:
    return {
        "sop_instance_uid": sop_instance_uid,
        "offset": pixels.offset,
        "length": pixels.length,
        "fragments": None if pixels.fragments is None else pixels.fragments.packed,
    }


async def insert_instance(transaction: Transaction, described: InstanceDescription) -> bool:
    """Insert an instance with its metadata and the place of its pixels; False when its UID is there."""
    if not await transaction.execute(_INSERT, **_instance_values(described)):
        return False
    uid = described.instance.sop_instance_uid
    await transaction.execute(_INSERT_METADATA, sop_instance_uid=uid, json=described.metadata)
    if described.pixels is not None:
        await transaction.execute(_INSERT_PIXELS, **_pixel_values(uid, described.pixels))
    return True


async def remove(transaction: Transaction, instance: Instance) -> bool:
    """Remove the rows of an instance; False when it is not there as it was seen."""
    uid = instance.sop_instance_uid
    if not await transaction.execute(_REMOVE, uid=uid, as_seen=instance.sha256):
        return False
    await transaction.execute(_FORGET_METADATA, uid=uid)
    await transaction.execute(_FORGET_PIXELS, uid=uid)
    return True


async def change_file(transaction: Transaction, instance: Instance, pixels: PixelData | None) -> None:
    """Let the row of `instance` name the file that it names, in which `pixels` lie."""
    uid = instance.sop_instance_uid
    await transaction.execute(_MOVE, uid=uid, new_sha256=instance.sha256, new_size=instance.size)
    if pixels is not None:
        await transaction.execute(_FORGET_PIXELS, uid=uid)
        await transaction.execute(_INSERT_PIXELS, **_pixel_values(uid, pixels))
