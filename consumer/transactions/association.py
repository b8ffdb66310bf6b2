"""Associations with the archives of a hospital, as their service class user (PS3.8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from consumer.domain.destination import Destination
from shared.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from shared.security.tls import client_context
from shared.settings import TlsSettings
from shared.settings.loopback import is_loopback

_SECONDS: Final = 60
CALLING: Final = "XDSI"


class NoAssociation(Exception):
    """The archive cannot be reached, or lets us not in; the text says why."""


@contextmanager
def associated(
    contexts: Sequence[tuple[str, str]], there: Destination, tls: TlsSettings, *, calling: str = CALLING
) -> Iterator[Any]:
    """An association of pynetdicom, for classes each in a transfer syntax; it is released at the end.

    Raises
    ------
    NoAssociation
        There is none.
    """
    from pynetdicom import AE, _config, build_context  # it takes its time, and is needed here alone

    # Files are sent in pieces.
    _config.STORE_SEND_CHUNKED_DATASET = True
    if not there.tls and not is_loopback(there.host):
        raise NoAssociation(f"{there.ae_title} is on another machine: write dicoms:// to reach it by TLS")
    if there.tls and not tls.enabled:
        raise NoAssociation("dicoms:// needs our own certificate and whom we trust (XDSI_TLS__CERTIFICATE)")
    entity = AE(calling)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
    entity.requested_contexts = [build_context(*one) for one in contexts]
    context = (client_context(tls), there.host) if there.tls else None
    association = entity.associate(there.host, there.port, ae_title=there.ae_title, tls_args=context)
    if not association.is_established:
        how = "rejects the association" if association.is_rejected else "does not answer"
        raise NoAssociation(f"{there.ae_title} at {there.host}:{there.port} {how}")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
