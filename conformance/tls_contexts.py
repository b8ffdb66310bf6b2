"""TLS of what judges other systems: by the certificates that are named, and not by a service's settings."""

from __future__ import annotations

import ssl
from pathlib import Path


class UnusableCertificate(Exception):
    """A certificate, its key or an authority cannot be used; the text is the reason."""


def client_context(certificate: Path | None, key: Path | None, trust: str) -> ssl.SSLContext:
    """For asking a system, which is known by the authorities `trust`, PEM; those of this machine when empty.

    Raises
    ------
    UnusableCertificate
        One cannot be used.
    """
    try:
        context = ssl.create_default_context(cadata=trust or None)
        # As in ATNA, a node is known by its certificate, and not by its place in the network.
        context.check_hostname = False
        # An endpoint's own certificate is trusted as its authority is (ITI TF-2 3.19.6.1).
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ValueError) as error:
        raise UnusableCertificate(str(error)) from None
    return context


def server_context(certificate: Path, key: Path | None, trust: Path | None) -> ssl.SSLContext:
    """For being asked, by whom the authorities in `trust` know; by anybody without.

    Raises
    ------
    UnusableCertificate
        One cannot be used.
    """
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        if trust is not None:
            context.load_verify_locations(trust)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        raise UnusableCertificate(str(error)) from None
    return context
