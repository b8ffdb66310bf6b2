"""What the registry knows of our manifests and their patients: asked when it decides what to send.

A registry of ours tells it by an interface for publishers (`shared.messages.registrations`). Any other is
asked by Get Documents [ITI-18], which may hide what is there from a node without a user and tells nothing of
patients: its answer counts for what it shows, and not for what it does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import httpx2

from shared.ebrim.model import AvailabilityStatus
from shared.messages.iti18 import ITI18, ReturnType, StoredQueryRequest, encode_parameters
from shared.messages.registrations import (
    MAX_UNIQUE_IDS,
    PATH,
    RegisteredDocument,
    Registrations,
    RegistrationsRequest,
    UnreadableRegistrations,
)
from shared.soap.client import PeerError, SoapClient
from shared.soap.envelope import RelayedFault

GET_DOCUMENTS: Final = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"

_TIMEOUT_SECONDS: Final = 20.0
_MAX_BYTES: Final = 1024 * 1024
# A server that is there and cannot answer at the moment.
_PASSING: Final = frozenset({429, 502, 503, 504})


class RegistryAway(Exception):
    """The registry cannot be asked now."""


class RegistryView(Protocol):
    """Tells what is registered."""

    async def find(self, patient_id: str, unique_ids: Sequence[str]) -> Registrations:
        """The entries of these documents, and what became of the patient; raises `RegistryAway`."""
        ...


class RegistryClient:
    """Asks the registry at `url`, the address of its SOAP endpoint."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        self._http = http
        self._soap = SoapClient(http)
        self._url = url

    async def find(self, patient_id: str, unique_ids: Sequence[str]) -> Registrations:
        """See `RegistryView`; of very many documents the last count."""
        request = RegistrationsRequest(patient_id=patient_id, unique_ids=tuple(unique_ids)[-MAX_UNIQUE_IDS:])
        return await self._told(request) or await self._queried(request)

    async def _told(self, request: RegistrationsRequest) -> Registrations | None:
        """By the interface for publishers; None where there is none."""
        url = self._url.removesuffix("/").removesuffix("/xds/registry") + PATH
        headers = {"content-type": "application/json"}
        try:
            async with self._http.stream("POST", url, content=request.encode(), headers=headers) as response:
                if response.status_code in _PASSING:
                    raise RegistryAway(f"the registry answers {response.status_code}")
                if response.status_code != httpx2.codes.OK:
                    return None
                return Registrations.decode(await _limited(response))
        except UnreadableRegistrations:
            return None
        except (httpx2.HTTPError, OSError) as error:
            raise RegistryAway(f"the registry does not answer ({type(error).__name__})") from None

    async def _queried(self, registrations_request: RegistrationsRequest) -> Registrations:
        unknown = Registrations(survivor=registrations_request.patient_id, known=None, complete=False)
        if not registrations_request.unique_ids:
            return unknown
        request = StoredQueryRequest(
            query_id=GET_DOCUMENTS,
            return_type=ReturnType.LEAF_CLASS,
            parameters=encode_parameters({"$XDSDocumentEntryUniqueId": registrations_request.unique_ids}),
        )
        try:
            answer = await self._soap.call(ITI18, self._url, request, timeout_seconds=_TIMEOUT_SECONDS)
        except PeerError as error:
            raise RegistryAway(f"the registry does not answer ({error.reason})") from None
        except RelayedFault:
            return unknown  # it does not tell this to nodes without a user
        documents = tuple(
            RegisteredDocument(
                unique_id=entry.unique_id,
                entry_uuid=entry.entry_uuid,
                patient_id=entry.patient_id,
                approved=entry.availability_status == AvailabilityStatus.APPROVED,
            )
            for entry in answer.objects.document_entries
        )
        return Registrations(
            survivor=registrations_request.patient_id, known=None, documents=documents, complete=False
        )


async def _limited(response: httpx2.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_bytes():
        received += chunk
        if len(received) > _MAX_BYTES:
            raise UnreadableRegistrations("the answer is too long")
    return bytes(received)
