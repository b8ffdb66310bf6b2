"""What answers a request for documents: a simulated Document Repository (ITI-41, ITI-43) and Imaging Document
Source (RAD-69, WADO-RS)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import ClassVar

from conformance.envelopes import NAMES, included
from conformance.schemes import SUCCESS
from conformance.simulators.server import HttpAnswer, HttpRequest
from conformance.simulators.soap import (
    RegistryFault,
    SoapActor,
    SoapAnswer,
    SoapMessage,
    errors_xml,
    status_of,
)
from conformance.simulators.world import STUDY

_IDS = ("HomeCommunityId", "RepositoryUniqueId", "DocumentUniqueId")
_RETRIEVE_RESPONSE = "urn:ihe:iti:2007:RetrieveDocumentSetResponse"


@dataclass(frozen=True, slots=True)
class DocumentReference:
    """A document by the ids under which it is asked for."""

    home: str
    repository: str
    unique_id: str


@dataclass(frozen=True, slots=True)
class DocumentPart:
    """A document in an answer; `lost` leaves out the part that xop:Include names."""

    reference: DocumentReference
    content: bytes
    lost: bool = False


class DocumentActor(SoapActor):
    """Answers with documents."""

    media_type: ClassVar[str] = "application/dicom"

    @abstractmethod
    def content(self, unique_id: str) -> bytes | None:
        """A document; None when nobody knows it."""

    def delivered(self, references: list[DocumentReference]) -> list[DocumentPart]:
        """The documents that come."""
        answers = [(one, self.content(one.unique_id)) for one in references]
        return [DocumentPart(one, content) for one, content in answers if content is not None]

    def respond(self, message: SoapMessage) -> SoapAnswer:
        """Retrieve."""
        references = [
            DocumentReference(
                *(str(one.xpath(f"string(xds:{name})", namespaces=NAMES)).strip() for name in _IDS)
            )
            for one in message.body.xpath(".//xds:DocumentRequest", namespaces=NAMES)
        ]
        if not references:
            raise ValueError("no document is asked for")
        delivered = self.delivered(references)
        faults = [
            RegistryFault("XDSDocumentUniqueIdError", "nobody knows it", one.unique_id)
            for one in references
            if self.content(one.unique_id) is None
        ]
        status = status_of(faults, delivered=bool(delivered))
        listed = "".join(self._response(number, one) for number, one in enumerate(delivered, 1))
        body = (
            f'<xds:RetrieveDocumentSetResponse><rs:RegistryResponse status="{status}">{errors_xml(faults)}'
            f"</rs:RegistryResponse>{listed}</xds:RetrieveDocumentSetResponse>"
        )
        attachments = {
            f"document{number}@simulator": one.content
            for number, one in enumerate(delivered, 1)
            if not one.lost
        }
        return SoapAnswer(body, attachments, self.response_action(message))

    def response_action(self, message: SoapMessage) -> str:
        """The wsa:Action of the answer."""
        return f"{message.header('Action')}Response"

    def _response(self, number: int, one: DocumentPart) -> str:
        reference = one.reference
        home = (
            f"<xds:HomeCommunityId>{escape(reference.home)}</xds:HomeCommunityId>" if reference.home else ""
        )
        return (
            f"<xds:DocumentResponse>{home}"
            f"<xds:RepositoryUniqueId>{escape(reference.repository)}</xds:RepositoryUniqueId>"
            f"<xds:DocumentUniqueId>{escape(reference.unique_id)}</xds:DocumentUniqueId>"
            f"<xds:mimeType>{self.media_type}</xds:mimeType>"
            f"<xds:Document>{included(f'document{number}@simulator')}</xds:Document></xds:DocumentResponse>"
        )


class SimulatedRepository(DocumentActor):
    """Holds the manifest of the world, and takes whatever is provided without registering it."""

    path = "/xds/repository"

    def content(self, unique_id: str) -> bytes | None:
        """The manifest."""
        return self.world.documents.get(unique_id)

    def respond(self, message: SoapMessage) -> SoapAnswer:
        """Retrieve, or take."""
        if message.body.tag.endswith("}ProvideAndRegisterDocumentSetRequest"):
            return SoapAnswer(f'<rs:RegistryResponse status="{SUCCESS}"/>')
        return super().respond(message)


class SimulatedImagingSource(DocumentActor):
    """Holds the instances of the world's study."""

    path = "/xds/imaging-source"
    web: ClassVar[str] = "/dicomweb"

    def content(self, unique_id: str) -> bytes | None:
        """An instance."""
        image = self.world.images.get(unique_id)
        return image.octets if image else None

    def response_action(self, message: SoapMessage) -> str:
        """That of ITI-43, for RAD-69."""
        action = message.header("Action")
        return (
            _RETRIEVE_RESPONSE
            if "RetrieveImaging" in action and "Cross" not in action
            else f"{action}Response"
        )

    def handle(self, request: HttpRequest) -> HttpAnswer:
        """RAD-69, or WADO-RS below `web`."""
        return (
            self._retrieved(request) if request.path.startswith(f"{self.web}/") else super().handle(request)
        )

    def _retrieved(self, request: HttpRequest) -> HttpAnswer:
        study, series, instance = (
            *request.path.removeprefix(f"{self.web}/studies/").split("/")[::2],
            "",
            "",
        )[:3]
        uids = [
            uid
            for uid, image in self.world.images.items()
            if study == STUDY and series in ("", image.series) and instance in ("", uid)
        ]
        if not uids or request.method != "GET":
            return HttpAnswer(b"no such study, series or instance", "text/plain", 404)
        parts = self.delivered([DocumentReference("", "", uid) for uid in uids])
        return HttpAnswer(
            _multipart(parts), 'multipart/related; type="application/dicom"; boundary=simulator'
        )


def _multipart(parts: Iterable[DocumentPart]) -> bytes:
    pieces = [
        b"--simulator\r\nContent-Type: application/dicom\r\n\r\n" + one.content + b"\r\n"
        for one in parts
        if not one.lost
    ]
    return b"".join((*pieces, b"--simulator--\r\n"))
