"""What an instance must be to be kept, and why it is refused (PS3.4 B.2.3, PS3.18 I.2).

One policy for every door: what identifies itself is kept. It names its SOP class, instance, study and series,
and its data set can be read to the end; what else is wrong with it is a `Tolerance`, of which the sender is
warned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shared.dicom.data_set import Tolerance, Tolerated
from shared.dicom.part10 import (
    CANNOT_UNDERSTAND,
    MISMATCH,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    BeyondLimit,
    DicomError,
    Part10,
    file_meta,
    uid_of,
)
from shared.dicom.uids import MEDIA_STORAGE_DIRECTORY, UNCOMPRESSED
from shared.imaging.description import Claim
from shared.imaging.instance import Instance

__all__ = [
    "CANNOT_UNDERSTAND",
    "COERCION",
    "MISMATCH",
    "NOT_AUTHORIZED",
    "OUT_OF_RESOURCES",
    "PROCESSING_FAILURE",
    "SOP_CLASS_NOT_SUPPORTED",
    "WARNING",
    "BeyondLimits",
    "Refused",
    "StoredInstance",
    "TooLong",
    "identify",
    "refusal",
    "right_meta",
    "tolerances",
]

PROCESSING_FAILURE: Final = 0x0110
#: Refused: Not Authorized (PS3.7 annex C).
NOT_AUTHORIZED: Final = 0x0124
WARNING: Final = 0xB007
"""Data Set does not match SOP Class: kept, with something in it that had to be tolerated."""
COERCION: Final = 0xB000
"""Coercion of Data Elements: kept, under the identifiers of its patient here."""

_REQUIRED: Final = {
    0x00080016: "SOP Class UID (0008,0016)",
    0x00080018: "SOP Instance UID (0008,0018)",
    0x0020000D: "Study Instance UID (0020,000D)",
    0x0020000E: "Series Instance UID (0020,000E)",
}


class Refused(Exception):
    """An instance is not kept; `reason` tells what is wrong, in 64 characters where possible, without values.

    `status` is the DIMSE status and STOW-RS failure reason, `claim` what is known of the instance.
    """

    def __init__(self, status: int, reason: str, claim: Claim | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.claim = claim or Claim()


class BeyondLimits(Refused):
    """The instance asks for more than the settings allow."""

    def __init__(self, reason: str, claim: Claim | None = None) -> None:
        super().__init__(OUT_OF_RESOURCES, reason, claim)


class TooLong(BeyondLimits):
    """The instance is longer than the most that is accepted."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"longer than {max_bytes} bytes, the most that is accepted")


def refusal(error: DicomError, claim: Claim) -> Refused:
    """What a sender is told of a file that cannot be scanned."""
    if isinstance(error, BeyondLimit):
        return BeyondLimits(str(error), claim)
    return Refused(error.status, str(error), claim)


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that is kept; `new` is False when the same content was kept before, or other content stays.

    `warnings` are sentences on what had to be tolerated of what came now, or was done with it; `coerced`
    tells that it is kept under other identifiers.
    """

    instance: Instance
    new: bool = True
    warnings: tuple[str, ...] = ()
    coerced: bool = False

    @property
    def status(self) -> int:
        """The DIMSE status, and where it is not 0 the STOW-RS warning reason."""
        if self.coerced:
            return COERCION
        return WARNING if self.warnings else 0x0000


def identify(part10: Part10, claim: Claim) -> Claim:
    """The identity of a scanned file, which must be whole and as claimed.

    Raises
    ------
    Refused
        A UID is absent or malformed, or differs from what the request says; a DICOMDIR.
    """
    try:
        uids = {tag: uid_of(part10.data_set, tag) for tag in _REQUIRED}
    except DicomError as error:
        raise Refused(error.status, str(error), claim) from None
    identity = Claim(
        sop_class_uid=uids[0x00080016],
        sop_instance_uid=uids[0x00080018],
        study_instance_uid=uids[0x0020000D],
    )
    for problem in _problems(uids, list(_said_by_request(claim))):
        raise Refused(MISMATCH, problem, identity)
    if identity.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "a DICOMDIR is no instance of a study", identity)
    return identity


def tolerances(part10: Part10, identity: Claim) -> Tolerated:
    """What was tolerated of a file and of what stands before its data set."""
    if not _meta_differs(part10, identity):
        return part10.tolerated
    return {**part10.tolerated, Tolerance.META_DIFFERS: 0x00020003}


def right_meta(part10: Part10, identity: Claim) -> bytes | None:
    """What should stand before the data set of a file, where something else does; else None.

    Of two instances in one file, that of the data set is the one: anonymisers forget group 0002. A bare data
    set becomes a file, and a transfer syntax that is not that of the bytes is put right.
    """
    if _WRONG_META.isdisjoint(tolerances(part10, identity)):
        return None
    if Tolerance.OTHER_SYNTAX in part10.tolerated and part10.transfer_syntax_uid not in UNCOMPRESSED:
        return None
    return file_meta(
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        transfer_syntax_uid=part10.transfer_syntax_uid,
    )


_WRONG_META: Final = frozenset(
    {
        Tolerance.NO_PREAMBLE,
        Tolerance.NO_META,
        Tolerance.META_DIFFERS,
        Tolerance.META_REPEATED,
        Tolerance.OTHER_SYNTAX,
    }
)


def _meta_differs(part10: Part10, identity: Claim) -> bool:
    try:
        of_meta = uid_of(part10.meta, 0x00020002), uid_of(part10.meta, 0x00020003)
    except DicomError:
        return True
    return any(
        uid and uid != own
        for uid, own in zip(of_meta, (identity.sop_class_uid, identity.sop_instance_uid), strict=True)
    )


def _said_by_request(claim: Claim) -> Iterator[tuple[int, str, str]]:
    yield 0x00080016, claim.sop_class_uid, "the request"
    yield 0x00080018, claim.sop_instance_uid, "the request"
    yield 0x0020000D, claim.study_instance_uid, "the request"


def _problems(uids: dict[int, str], other_uids: Sequence[tuple[int, str, str]]) -> Iterator[str]:
    yield from (f"{_REQUIRED[tag]} is absent or empty" for tag, uid in uids.items() if not uid)
    for tag, uid, source in other_uids:
        if uid and uid != uids[tag]:
            yield f"{_REQUIRED[tag]} differs from {source}"
