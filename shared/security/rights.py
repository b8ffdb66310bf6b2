"""Which node may do what: one place for every door of every service (ITI TF-1 9, TF-2 3.19).

A certificate of a trusted authority says who a node is, and not what it may do: with two joined communities
the authorities of both are trusted. So each door needs a right (`shared.security.doors`). Where nodes are
registered (`shared.security.nodes`), their entries alone give it. Without a register the nodes of our own
community have all rights; other nodes have those for which a setting names them; whom nobody names has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.doors import CONSENT_DOCUMENT, DOORS, REJECTION_NOTE, Right
from shared.security.file_watch import FileWatch
from shared.security.node_list import NodeList, is_fingerprint, normal_dn
from shared.security.nodes import (
    LOOK_SECONDS,
    NodeRegister,
    RegisteredNode,
    RegisterError,
    WatchedRegister,
    refusal,
)
from shared.security.peer_certificate import fingerprint_of
from shared.settings import ServiceSettings, SettingsError

__all__ = [
    "CONSENT_DOCUMENT",
    "DOORS",
    "REJECTION_NOTE",
    "NodeList",
    "Right",
    "Rights",
    "is_fingerprint",
    "normal_dn",
]


class Rights:
    """The rights of nodes at one service, as they are now.

    Without a register a node belongs to the community when it shows the very certificate of this service,
    when `community_nodes` names its subject DN (RFC 4514) or the hexadecimal SHA-256 of its certificate, or
    when it calls from this machine while no TLS is set up. With several trusted authorities a fingerprint is
    safer than a DN: any of them can write any DN. With a register it is our own certificate, unless that is
    revoked, and what is registered as a service of the community.

    Raises
    ------
    SettingsError
        An entry names no node, or the register cannot be used.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._tls = settings.tls.enabled
        self._certificate = settings.tls.certificate
        self._renewal = FileWatch([self._certificate], look_seconds=LOOK_SECONDS)
        self._own = frozenset(_own(settings))
        self._community = NodeList(settings.community_nodes, "XDSI_COMMUNITY_NODES")
        self._named = {right: NodeList(settings.named_nodes(right), right.setting) for right in Right}
        try:
            self._watched = WatchedRegister(settings.nodes)
        except RegisterError as error:
            raise SettingsError(
                (f"XDSI_NODES: {error}; correct it, `xdsi node` writes it as it has to be",)
            ) from None

    @property
    def register(self) -> NodeRegister:
        """The registered nodes; none where settings alone say who may, and without TLS."""
        return self._watched.now if self._tls else _NONE

    def community(self, node: Node) -> bool:
        """Whether `node` belongs to our own community."""
        if not self._tls:
            return node.is_on_this_machine
        if not (register := self.register):
            return self._is_own(node) or node in self._community
        entry = register.entry(node)
        if entry is None:
            return self._is_own(node)
        return entry.speaks_for_community

    def _is_own(self, node: Node) -> bool:
        """Whether it shows our certificate: the present one, or one before, by which connections are open."""
        if self._certificate is not None and self._renewal.changed():
            with suppress(OSError, ValueError):
                self._own |= {fingerprint_of(self._certificate)}
        return node.fingerprint in self._own

    def may(self, node: Node, door: str, right: Right | None = None) -> bool:
        """Whether `node` has the right that `door` needs: `right`, or what the table says."""
        needed = right or DOORS[door]
        if self.community(node):
            return True
        if register := self.register:
            entry = register.entry(node)
            return entry is not None and needed in entry.granted
        return self._tls and node in self._named[needed]

    def check(self, node: Node, door: str, right: Right | None = None) -> None:
        """Refuse a node without the right that `door` needs: `right`, or what the table says.

        Raises
        ------
        NodeRefused
            Its reason names what would let the node in.
        """
        if self.may(node, door, right):
            return
        right = right or DOORS[door]
        if register := self.register:
            raise refusal(node, register.entry(node), door, right)
        raise NodeRefused(
            f"this node may not use {door} here; nodes of the community may, and those whose subject or "
            f"SHA-256 of the certificate {right.setting} names",
            f"{door} needs the right {right}, which {_shown(node)} has not",
        )

    def entry(self, node: Node) -> RegisteredNode | None:
        """What is registered of a node; None where nothing binds it."""
        return self.register.entry(node)

    def check_title(self, node: Node, ae_title: str) -> None:
        """Refuse a node under an AE title that is registered for others, or of which its entry says nothing
        while it names some; raises `NodeRefused`."""
        register = self.register
        owners, entry = register.of_title(ae_title), register.entry(node)
        if (owners and entry not in owners) or (entry is not None and entry.ae_titles and not owners):
            raise NodeRefused(
                "this node may not use that AE title; the register of nodes names another certificate for it",
                f"the AE title belongs to another certificate (register of nodes: "
                f"{', '.join(one.name for one in owners) or 'nobody'})",
            )


_NONE = NodeRegister()


def _shown(node: Node) -> str:
    if not node.fingerprint:
        return "a node without certificate"
    return f"{node.subject} (SHA-256 {node.fingerprint})"


def _own(settings: ServiceSettings) -> Iterator[str]:
    if settings.tls.certificate is None:
        return
    try:
        yield fingerprint_of(settings.tls.certificate)
    except (OSError, ValueError):
        raise SettingsError(
            (f"XDSI_TLS__CERTIFICATE: {settings.tls.certificate} holds no readable PEM certificate",)
        ) from None
