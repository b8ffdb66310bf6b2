"""Which application entity may do what: the table of AE titles, and the rights of the nodes that use them.

An AE title proves nothing. One that stands in the table with a certificate is used by that node alone; one
without lends no node a right that it has not itself; and what the table does not let an AE title do, nobody
does under it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imaging_source.settings import ENTITIES_SETTING, ImagingSourceSettings
from imaging_source.settings.entities import DimseService, EntitySettings
from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.rights import NodeList, Rights
from shared.settings import XuaMode

#: The DIMSE services by which a right is asked for, as the table of doors knows them.
DOOR_OF: Final[Mapping[DimseService, str]] = {
    DimseService.STORE: "C-STORE",
    DimseService.FIND: "C-FIND",
    DimseService.MOVE: "C-MOVE",
    DimseService.GET: "C-GET",
    DimseService.COMMIT: "N-ACTION",
}
#: What gives data of patients, which a node gets for a user, or because the table says so.
_FOR_USERS: Final = frozenset({DimseService.FIND, DimseService.MOVE, DimseService.GET})


@dataclass(frozen=True, slots=True)
class Entity:
    """An application entity of the table: its title, its settings, and its node where that is named."""

    title: str
    settings: EntitySettings
    nodes: NodeList | None

    def is_used_by(self, node: Node) -> bool:
        """Whether `node` is the one that is named for it; any is where none is."""
        return self.nodes is None or node in self.nodes


class ApplicationEntities:
    """The table of AE titles under the settings of the service.

    Raises
    ------
    SettingsError
        The certificate of an entry names no node.
    """

    def __init__(self, settings: ImagingSourceSettings, rights: Rights) -> None:
        self._rights = rights
        self._settings = settings
        self._table = {
            title: Entity(title, entity, _nodes(title, entity))
            for title, entity in settings.application_entities.items()
        }

    @property
    def titles(self) -> list[str]:
        """The AE titles that may call; any may when there are none."""
        return [*self._table, *self._settings.calling_ae_titles]

    @property
    def with_address(self) -> list[Entity]:
        """Those that can be called."""
        return [entity for entity in self._table.values() if entity.settings.host is not None]

    def __getitem__(self, title: str) -> Entity | None:
        return self._table.get(title)

    def check(self, title: str, node: Node, service: DimseService) -> None:
        """Refuse a node, under the AE title that it calls itself, what it may not ask for.

        Raises
        ------
        NodeRefused
            Its reason names the setting that would let it.
        """
        entity = self._table.get(title)
        if entity is None:
            self.check_identity(title, node)
            self._rights.check(node, DOOR_OF[service])
            if service in _FOR_USERS and self._settings.xua_mode is XuaMode.REQUIRED:
                raise _refused(
                    service, "speaks for no user, whom it needs unless the table names its AE title"
                )
            return
        self.check_identity(title, node)
        if service not in entity.settings.services:
            raise _refused(service, "has an AE title to which the table does not give it")
        if entity.nodes is None or self._rights.register:
            self._rights.check(node, DOOR_OF[service])

    def check_identity(self, title: str, node: Node) -> None:
        """Refuse a node that is not the one to which its AE title belongs; raises `NodeRefused`."""
        self._rights.check_title(node, title)
        entity = self._table.get(title)
        if entity is not None and not entity.is_used_by(node):
            raise NodeRefused(
                f"this node may not use that AE title; {ENTITIES_SETTING} names another certificate for it",
                f"the AE title belongs to another certificate ({ENTITIES_SETTING})",
            )

    def may(self, title: str, node: Node, service: DimseService) -> bool:
        """Whether `check` refuses nothing."""
        try:
            self.check(title, node, service)
        except NodeRefused:
            return False
        return True

    def destination(self, title: str, of: str) -> Entity | None:
        """The entity to which the AE title `of` may have instances moved; None when it may not, or there is
        none with an address."""
        destination = self._table.get(title)
        if destination is None or destination.settings.host is None:
            return None
        mover = self._table.get(of)
        return destination if mover is None or title in mover.settings.destinations else None


def _nodes(title: str, entity: EntitySettings) -> NodeList | None:
    if entity.certificate is None:
        return None
    return NodeList((entity.certificate,), f"{ENTITIES_SETTING} {title}")


def _refused(service: DimseService, why: str) -> NodeRefused:
    door = DOOR_OF[service]
    return NodeRefused(
        f"this node may not use {door} here; {ENTITIES_SETTING} names the AE titles that may",
        f"{door}: the node {why} ({ENTITIES_SETTING})",
    )
