"""Registries that do one thing wrongly, each by a name under which scripts ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from conformance.envelopes import NAMES, Element, Envelope
from conformance.simulators.registry import Arguments, SimulatedRegistry
from conformance.simulators.soap import RegistryFault, SoapAnswer, SoapMessage


class NoRelatesTo(SimulatedRegistry):
    """Answers do not say to what they are answers."""

    def envelope(self, message: SoapMessage, answer: SoapAnswer) -> tuple[Envelope, Mapping[str, bytes]]:
        """Without wsa:RelatesTo."""
        envelope, attachments = super().envelope(message, answer)
        return replace(envelope, relates_to=""), attachments


class OneErrorCode(SimulatedRegistry):
    """Every error is XDSRegistryError."""

    def error(self, fault: RegistryFault) -> RegistryFault:
        """The one code."""
        return replace(fault, code="XDSRegistryError")


class AcceptsAnything(SimulatedRegistry):
    """What lacks required metadata is registered."""

    def check(self, submitted: list[Element]) -> None:
        """Refuse nothing."""


class MixesPatients(SimulatedRegistry):
    """A query finds what is of other patients."""

    def is_of_patient(self, one: Element, patients: list[str]) -> bool:
        """Everything is of everybody."""
        return True


class ShowsDeprecated(SimulatedRegistry):
    """A query finds what is Deprecated, whatever it asked for."""

    def has_status(self, one: Element, statuses: list[str]) -> bool:
        """Every status will do."""
        return True


class IgnoresCodes(SimulatedRegistry):
    """A query finds what has other codes than it asked for."""

    def has_codes(self, one: Element, prefix: str, arguments: Arguments) -> bool:
        """Every code will do."""
        return True


class LosesReference(SimulatedRegistry):
    """Of references the last one is missing."""

    def references(self, objects: list[Element]) -> str:
        """All but one."""
        return super().references(objects[:-1])


class AlwaysFull(SimulatedRegistry):
    """Full objects come to who asks for references."""

    def shown(self, objects: list[Element], return_type: str) -> str:
        """Whatever is asked for."""
        return super().shown(objects, "LeafClass")


class ReplacesNothing(SimulatedRegistry):
    """What is replaced stays Approved."""

    def replace(self, target: str) -> None:
        """Nothing."""


class KeepsSymbolicIds(SimulatedRegistry):
    """Symbolic ids stay."""

    def give_ids(self, objects: list[Element]) -> None:
        """Nothing."""


class BelievesStatus(SimulatedRegistry):
    """The sender says what the status is."""

    def take_in(self, one: Element) -> None:
        """Keep the status that is there."""
        status = one.get("status")
        super().take_in(one)
        if status:
            one.set("status", status)


class LosesSlots(SimulatedRegistry):
    """Slots that the standard does not know are lost, and nobody is told."""

    def take_in(self, one: Element) -> None:
        """Without them."""
        super().take_in(one)
        for slot in one.xpath(
            "rim:Slot[starts-with(@name, 'urn:') and not(starts-with(@name, 'urn:ihe:'))]", namespaces=NAMES
        ):
            one.remove(slot)


class TakesTwice(SimulatedRegistry):
    """A SubmissionSet is registered twice under one uniqueId."""

    def is_known(self, package: Element) -> bool:
        """Nothing is known."""
        return False
