"""What came, as it is known before it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from imaging_source.domain.intake import identify, refusal, right_meta, tolerances
from imaging_source.store.contents import Contents
from imaging_source.store.incoming import SpooledFile
from shared.dicom.part10 import DicomError, Limits, Part10, scan
from shared.imaging.description import Claim, InstanceDescription, describe


class Arrival(NamedTuple):
    """A synced file aside, what was scanned of it, and what is noted of it."""

    spooled: SpooledFile
    part10: Part10
    described: InstanceDescription


def arrival_of(
    spooled: SpooledFile, claim: Claim, files: Contents, *, limits: Limits, character_set: Sequence[str]
) -> Arrival:
    """The file scanned and described; written anew where what stands before its data set is wrong; blocks.

    Raises
    ------
    Refused
        Not DICOM that is accepted, not what was claimed, or out of resources.
    """
    try:
        part10 = scan(spooled.path, limits)
        identity = identify(part10, claim)
        tolerated = tolerances(part10, identity)
        if (meta := right_meta(part10, identity)) is not None:
            spooled = files.with_meta(spooled, meta, part10.data_set_offset)
            part10 = scan(spooled.path, limits)
        claim = identity
        described = describe(
            part10,
            identity,
            file=files.name(spooled.sha256),
            size=spooled.size,
            sha256=spooled.sha256,
            received_at=datetime.now(UTC),
            tolerated=tolerated,
            character_set=character_set,
        )
    except DicomError as error:
        raise refusal(error, claim) from None
    return Arrival(spooled, part10, described)
