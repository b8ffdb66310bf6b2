"""Whether a record comes from the node that its AuditSourceID stands for.

The message names its source itself, and whoever may send can write any name: what TLS proved of the node that
delivered the record decides. Nothing is dropped for it, the record says what was found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from enum import StrEnum

from shared.security.caller import Node
from shared.security.nodes import NodeRegister
from shared.security.rights import NodeList

#: AuditSourceIDs that our services take when the settings name none begin so.
OUR_SERVICES = "xdsi-"


class Standing(StrEnum):
    """What is known of a record's source."""

    PROVED = "proved"
    """The node that delivered the record may write under this AuditSourceID."""
    CLAIMED = "claimed"
    """Nobody is bound to the AuditSourceID: whose it is, the delivering node alone says."""
    MISMATCHED = "mismatched"
    """The AuditSourceID belongs to another node than the one that delivered the record."""
    UNKNOWN = "unknown"
    """The record was kept by a release that did not compare."""


class Sources:
    """Which node may write under which AuditSourceID.

    Parameters
    ----------
    bound
        The nodes of an AuditSourceID; they alone may use it.
    ours
        AuditSourceIDs of this community beside `xdsi-*`: for its own nodes, unless they are in `bound`.
    of_the_community
        Whether a node belongs to this community; it may write under every id that is not in `bound`.
    proves_nodes
        Whether nodes show certificates; without, all are on this machine and no table can tell them apart.
    register
        The registered nodes as they are now: an AuditSourceID that stands there is of those nodes alone, and
        a node for which some stand there uses no other.
    """

    def __init__(
        self,
        bound: Mapping[str, NodeList],
        *,
        ours: Collection[str] = (),
        of_the_community: Callable[[Node], bool],
        proves_nodes: bool,
        register: Callable[[], NodeRegister] = NodeRegister,
    ) -> None:
        self._bound = {_plain(source_id): nodes for source_id, nodes in bound.items()}
        self._ours = set(map(_plain, ours))
        self._of_the_community = of_the_community
        self._proves_nodes = proves_nodes
        self._register = register

    def standing(self, source_id: str, node: Node) -> Standing:
        """What is known of a record that names `source_id` and came from `node`."""
        source = _plain(source_id)
        registered = self._by_register(source, node)
        if registered is not None:
            return registered
        nodes = self._bound.get(source) if self._proves_nodes else None
        if nodes is not None:
            return Standing.PROVED if node in nodes else Standing.MISMATCHED
        if source and self._of_the_community(node):
            return Standing.PROVED
        return Standing.MISMATCHED if self._is_ours(source) else Standing.CLAIMED

    def _by_register(self, source: str, node: Node) -> Standing | None:
        """What the register of nodes says; None where it says nothing of the id or the node."""
        register = self._register()
        entry = register.entry(node)
        own = set() if entry is None or entry.revoked else set(map(_plain, entry.audit_sources))
        if source in own:
            return Standing.PROVED
        bound = (_plain(each) for one in register.nodes for each in one.audit_sources)
        return Standing.MISMATCHED if own or source in bound else None

    def _is_ours(self, source: str) -> bool:
        return source.startswith(OUR_SERVICES) or source in self._ours or source in self._bound


def _plain(source_id: str) -> str:
    """An id as readers take it: they do not see blanks at its ends, or the case of its letters."""
    return " ".join(source_id.split()).casefold()
