"""Simulated gateways: the world as another community, asked by ITI-38, ITI-39 and RAD-75, or by the
transactions of a consumer."""

from __future__ import annotations

from conformance.envelopes import Element
from conformance.simulators.documents import SimulatedImagingSource, SimulatedRepository
from conformance.simulators.registry import SimulatedRegistry
from conformance.simulators.soap import SoapActor, SoapAnswer, SoapMessage
from conformance.simulators.world import World


class _HomeRegistry(SimulatedRegistry):
    """A registry whose objects say of which community they are."""

    def __init__(self, world: World, home: str) -> None:
        super().__init__(world)
        self._home = home

    def shown(self, objects: list[Element], return_type: str) -> str:
        """With `home`."""
        for one in objects:
            if self._home:
                one.set("home", self._home)
        return super().shown(objects, return_type)


class SimulatedGateway(SoapActor):
    """A Responding Gateway of the world's community."""

    path = "/xca/responding"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._registry = _HomeRegistry(world, self.home_of_entries)
        self._repository = SimulatedRepository(world)
        self._source = SimulatedImagingSource(world)

    @property
    def home_of_entries(self) -> str:
        """The homeCommunityId that objects are found with."""
        return self.world.home

    def respond(self, message: SoapMessage) -> SoapAnswer:
        """As registry, repository or imaging source of the community."""
        if message.body.tag.endswith("}AdhocQueryRequest"):
            return self._registry.respond(message)
        if message.body.tag.endswith("}RetrieveImagingDocumentSetRequest"):
            return self._source.respond(message)
        return self._repository.respond(message)


class SimulatedInitiatingGateway(SimulatedGateway):
    """An Initiating Gateway, which speaks for the world's community."""

    path = "/xca/initiating"


def without_home(gateway: type[SimulatedGateway]) -> type[SimulatedGateway]:
    """What is found does not say of which community it is."""
    return _with_home(gateway, "")


def with_other_home(gateway: type[SimulatedGateway]) -> type[SimulatedGateway]:
    """What is found says that it is of a community that nobody knows."""
    return _with_home(gateway, "urn:oid:2.999.404")


def _with_home(gateway: type[SimulatedGateway], home: str) -> type[SimulatedGateway]:
    return type("WrongHome", (gateway,), {"home_of_entries": home})
