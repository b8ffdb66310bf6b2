"""Which node may do what: one table for every door of every service (ITI TF-1 9, TF-2 3.19).

A certificate of a trusted authority says who a node is, and not what it may do: with two joined communities
the authorities of both are trusted. So each door needs a right. The nodes of our own community have all of
them; other nodes have those for which a setting names them; whom nobody names has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final

from cryptography import x509

from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.peer_certificate import fingerprint_of
from shared.settings import ServiceSettings, SettingsError

_AFTER_COMMA = re.compile(r"(?<!\\),\s+")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class Right(StrEnum):
    """What a node may do; the value is its name among the settings `XDSI_RIGHTS__…`."""

    FEED = "feed"
    SUBMIT = "submit"
    UPDATE = "update"
    STORE = "store"
    REJECT = "reject"
    PUBLISH = "publish"
    ASK = "ask"
    CROSS = "cross"
    POLICIES = "policies"
    CONSENT = "consent"
    TRAIL = "trail"
    RECORD = "record"

    @property
    def setting(self) -> str:
        """The setting that names further nodes with this right."""
        return "XDSI_COMMUNITY_GATEWAYS" if self is Right.CROSS else f"XDSI_RIGHTS__{self.upper()}"


#: The door of a rejection note (IOCM), which comes as an instance.
REJECTION_NOTE: Final = "rejection note"

#: The right that each door needs: a transaction by its number, a DIMSE service by its name. What is served
#: over REST names its right itself (`shared.rest.served`). What has none is open to every node that TLS let
#: in: health, metrics, descriptions, and the form by which people sign in.
DOORS: Final[Mapping[str, Right]] = {
    # patient identities
    "ITI-8": Right.FEED,
    "ITI-44": Right.FEED,
    # documents and their metadata; RAD-68 is an ITI-41
    "ITI-41": Right.SUBMIT,
    "ITI-42": Right.SUBMIT,
    "ITI-61": Right.SUBMIT,
    # changing and removing what is there; a user's role is asked for beside it
    "ITI-57": Right.UPDATE,
    "ITI-62": Right.UPDATE,
    "ITI-86": Right.UPDATE,
    "ITI-92": Right.UPDATE,
    # instances
    "C-ECHO": Right.STORE,
    "C-STORE": Right.STORE,
    "N-ACTION": Right.STORE,
    REJECTION_NOTE: Right.REJECT,
    # queries and retrievals for a user, whom consent decides about
    "ITI-18": Right.ASK,
    "ITI-43": Right.ASK,
    "ITI-51": Right.ASK,
    "RAD-69": Right.ASK,
    "C-FIND": Right.ASK,
    "C-GET": Right.ASK,
    "C-MOVE": Right.ASK,
    # gateways of other communities
    "ITI-38": Right.CROSS,
    "ITI-39": Right.CROSS,
    "RAD-75": Right.CROSS,
    # the trail
    "ITI-20": Right.RECORD,
}


class Rights:
    """The rights of nodes at one service.

    A node belongs to the community when it shows the very certificate of this service, when `community_nodes`
    names its subject DN (RFC 4514) or the hexadecimal SHA-256 of its certificate, or when it calls from this
    machine while no TLS is set up. With several trusted authorities a fingerprint is safer than a DN: any of
    them can write any DN.

    Raises
    ------
    SettingsError
        An entry names no node.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._tls = settings.tls.enabled
        self._community = NodeList(settings.community_nodes, "XDSI_COMMUNITY_NODES", own=_own(settings))
        self._named = {right: NodeList(settings.named_nodes(right), right.setting) for right in Right}

    def community(self, node: Node) -> bool:
        """Whether `node` belongs to our own community."""
        return node in self._community if self._tls else node.is_on_this_machine

    def may(self, node: Node, door: str, right: Right | None = None) -> bool:
        """Whether `node` has the right that `door` needs: `right`, or what the table says."""
        return self.community(node) or (self._tls and node in self._named[right or DOORS[door]])

    def check(self, node: Node, door: str, right: Right | None = None) -> None:
        """Refuse a node without the right that `door` needs: `right`, or what the table says.

        Raises
        ------
        NodeRefused
            Its reason names the setting that would let the node in.
        """
        if not self.may(node, door, right):
            right = right or DOORS[door]
            raise NodeRefused(
                f"this node may not use {door} here; nodes of the community may, and those whose subject or "
                f"SHA-256 of the certificate {right.setting} names",
                f"{door} needs the right {right}, which {_shown(node)} has not",
            )


class NodeList:
    """Nodes by their subject DN (RFC 4514) or the hexadecimal SHA-256 of their certificate.

    Raises
    ------
    SettingsError
        An entry is neither; `setting` is where it was given.
    """

    def __init__(self, entries: Iterable[str], setting: str, *, own: Iterable[str] = ()) -> None:
        nodes = [entry.strip() for entry in entries]
        self._fingerprints = {entry.lower() for entry in nodes if is_fingerprint(entry)} | set(own)
        self._subjects = {_dn(entry, setting) for entry in nodes if not is_fingerprint(entry)}

    def __contains__(self, node: Node) -> bool:
        return node.subject in self._subjects or node.fingerprint in self._fingerprints


def _shown(node: Node) -> str:
    if not node.fingerprint:
        return "a node without certificate"
    return f"{node.subject} (SHA-256 {node.fingerprint})"


def is_fingerprint(entry: str) -> bool:
    """Whether `entry` is the hexadecimal SHA-256 of a certificate, and no DN."""
    return _FINGERPRINT.fullmatch(entry.lower()) is not None


def _own(settings: ServiceSettings) -> Iterator[str]:
    if settings.tls.certificate is None:
        return
    try:
        yield fingerprint_of(settings.tls.certificate)
    except (OSError, ValueError):
        raise SettingsError(
            (f"XDSI_TLS__CERTIFICATE: {settings.tls.certificate} holds no readable PEM certificate",)
        ) from None


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
