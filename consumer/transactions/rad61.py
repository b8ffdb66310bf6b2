"""Imported Objects Stored [RAD-61]: instances under local identifiers are stored in the archive of the
hospital by C-STORE (RAD TF, Import Reconciliation Workflow; PS3.4 annex B).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread

from consumer.domain.destination import Destination
from shared.audit.events import ihe
from shared.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.settings.loopback import is_loopback

EVENT_TYPE: Final = ihe("RAD-61", "Imported Objects Stored")
_CALLING: Final = "XDSI"
_SECONDS: Final = 60
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
        with _association(batch, there, tls) as association:
            for one in files:
                if one.context in batch:
                    yield one, _stored(association, ready(one))


@contextmanager
def _association(contexts: Sequence[tuple[str, str]], there: Destination, tls: TlsSettings) -> Iterator[Any]:
    from pynetdicom import AE, _config, build_context  # it takes its time, and is needed here alone

    # Files are sent in pieces.
    _config.STORE_SEND_CHUNKED_DATASET = True
    if not there.tls and not is_loopback(there.host):
        raise NotStored(f"{there.ae_title} is on another machine: write dicoms:// to reach it by TLS")
    if there.tls and not tls.enabled:
        raise NotStored("dicoms:// needs our own certificate and whom we trust (XDSI_TLS__CERTIFICATE)")
    entity = AE(_CALLING)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
    entity.requested_contexts = [build_context(*one) for one in contexts]
    context = (client_context(tls), there.host) if there.tls else None
    association = entity.associate(there.host, there.port, ae_title=there.ae_title, tls_args=context)
    if not association.is_established:
        how = "rejects the association" if association.is_rejected else "does not answer"
        raise NotStored(f"{there.ae_title} at {there.host}:{there.port} {how}")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


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
