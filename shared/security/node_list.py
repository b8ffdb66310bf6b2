"""Nodes as settings name them: by the subject or the SHA-256 of their certificates."""

from __future__ import annotations

import re
from collections.abc import Iterable

from cryptography import x509

from shared.security.caller import Node
from shared.settings import SettingsError

_AFTER_COMMA = re.compile(r"(?<!\\),\s+")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class NodeList:
    """Nodes by their subject DN (RFC 4514) or the hexadecimal SHA-256 of their certificate.

    Raises
    ------
    SettingsError
        An entry is neither; `setting` is where it was given.
    """

    def __init__(self, entries: Iterable[str], setting: str) -> None:
        nodes = [entry.strip() for entry in entries]
        self._fingerprints = {entry.lower() for entry in nodes if is_fingerprint(entry)}
        self._subjects = {_dn(entry, setting) for entry in nodes if not is_fingerprint(entry)}

    def __contains__(self, node: Node) -> bool:
        return node.subject in self._subjects or node.fingerprint in self._fingerprints


def is_fingerprint(entry: str) -> bool:
    """Whether `entry` is the hexadecimal SHA-256 of a certificate, and no DN."""
    return _FINGERPRINT.fullmatch(entry.lower()) is not None


def normal_dn(entry: str) -> str:
    """A DN (RFC 4514) as certificates are compared by it; `CN=a, O=b` is as good as `CN=a,O=b`.

    Raises
    ------
    ValueError
        It is no DN; the empty text is one of no node.
    """
    return x509.Name.from_rfc4514_string(_AFTER_COMMA.sub(",", entry)).rfc4514_string()


def _dn(entry: str, setting: str) -> str:
    try:
        name = normal_dn(entry)
    except ValueError:
        raise SettingsError(
            (
                f"{setting}: {entry!r} is neither a DN (RFC 4514, for example CN=a,O=b) nor the "
                "hexadecimal SHA-256 of a certificate",
            )
        ) from None
    if not name:
        raise SettingsError((f"{setting}: an entry is empty; name a DN or a fingerprint",))
    return name
