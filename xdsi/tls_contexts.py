"""TLS of commands that judge other systems: by the files that are named, whatever the settings say."""

from __future__ import annotations

import ssl
from pathlib import Path

from conformance import tls_contexts
from conformance.tls_contexts import UnusableCertificate
from xdsi.failures import WrongUsage


def client_context(certificate: Path | None, key: Path | None, trust: Path | None) -> ssl.SSLContext:
    """For asking a system, which is known by the authorities in `trust`; those of this machine without.

    Raises
    ------
    WrongUsage
        A file cannot be used.
    """
    try:
        return tls_contexts.client_context(certificate, key, trust.read_text("utf-8") if trust else "")
    except (OSError, ValueError, UnusableCertificate) as error:
        raise _unusable(error) from None


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
        return tls_contexts.server_context(certificate, key, trust)
    except UnusableCertificate as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> WrongUsage:
    return WrongUsage(f"the certificates cannot be used: {error}")
