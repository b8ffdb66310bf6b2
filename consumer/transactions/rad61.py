"""Imported Objects Stored [RAD-61]: instances under local identifiers are stored in the archive of the
hospital by C-STORE (RAD TF, Import Reconciliation Workflow; PS3.4 annex B).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from consumer.domain.destination import Destination
from consumer.transactions.association import NoAssociation, associated
from shared.audit.events import ihe
from shared.settings import TlsSettings

EVENT_TYPE: Final = ihe("RAD-61", "Imported Objects Stored")
_MOST_CONTEXTS: Final = 128
_WARNINGS: Final = 0xB000
_SUCCESS: Final = 0x0000


class NotStored(Exception):
    """The archive cannot be reached, or takes nothing from us; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """One file on its way: which instance it is, of which class, in which transfer syntax."""

    path: Path
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """The file at `path`; blocks."""
        meta = dcmread(path, specific_tags=[], stop_before_pixels=True).file_meta
        return cls(
            path=path,
            sop_instance_uid=str(meta.MediaStorageSOPInstanceUID),
            sop_class_uid=str(meta.MediaStorageSOPClassUID),
            transfer_syntax_uid=str(meta.TransferSyntaxUID),
        )

    @property
    def context(self) -> tuple[str, str]:
        """By what it is negotiated: its class, and its transfer syntax as it is."""
        return self.sop_class_uid, self.transfer_syntax_uid


def store(
    files: Sequence[StoredFile],
    there: Destination,
    tls: TlsSettings,
    ready: Callable[[StoredFile], Path],
) -> Iterator[tuple[StoredFile, str]]:
    """Store files as `ready` makes them just before; each with why it was not, or nothing where it was.

    Blocks; memory does not grow with a file.

    Raises
    ------
    NotStored
        Nobody answers, or we are not let in; what came before is stored.
    WrongInstance, OSError
        Of `ready`.
    """
    contexts = sorted({one.context for one in files})
    for first in range(0, len(contexts), _MOST_CONTEXTS):
        batch = contexts[first : first + _MOST_CONTEXTS]
        try:
            with associated(batch, there, tls) as association:
                for one in files:
                    if one.context in batch:
                        yield one, _stored(association, ready(one))
        except NoAssociation as error:
            raise NotStored(str(error)) from None


def _stored(association: Any, path: Path) -> str:
    if not association.is_established:
        raise NotStored("the archive ended the association; try again")
    try:
        status = association.send_c_store(path)
    except ValueError:
        return "the archive takes no instances of this class in this transfer syntax"
    code = status.get("Status")
    if code is None:
        raise NotStored("the archive gave no answer in time; try again")
    if code == _SUCCESS or code & 0xF000 == _WARNINGS:
        return ""
    comment = str(status.get("ErrorComment") or "")
    return f"the archive refused it: {code:04X}H{f' ({comment[:64]})' if comment else ''}"
