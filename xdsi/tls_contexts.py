"""TLS of commands that judge other systems: by the files that are named, whatever the settings say."""

from __future__ import annotations

import ssl
from pathlib import Path

from xdsi.failures import WrongUsage


def client_context(certificate: Path | None, key: Path | None, trust: Path | None) -> ssl.SSLContext:
    """For asking a system, which is known by the authorities in `trust`; those of this machine without.

    Raises
    ------
    WrongUsage
        A file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=str(trust) if trust else None)
        # As in ATNA, a node is known by its certificate, and not by its place in the network.
        context.check_hostname = False
        if certificate is not None:
            context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(error) from None
    return context


def server_context(certificate: Path | None, key: Path | None, trust: Path | None) -> ssl.SSLContext:
    """For being asked, by whom the authorities in `trust` know; by anybody without.

    Raises
    ------
    WrongUsage
        A file cannot be used, or none is named.
    """
    if certificate is None:
        raise WrongUsage("TLS needs a certificate; name it with --certificate and --key")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        if trust is not None:
            context.load_verify_locations(trust)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise _unusable(error) from None
    return context


def _unusable(error: Exception) -> WrongUsage:
    return WrongUsage(f"the certificates cannot be used: {error}")
