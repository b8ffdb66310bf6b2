"""What one request of the gateway works with, and what all of them share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2

from gateway.domain.communities import Communities
from gateway.settings import GatewaySettings
from gateway.store.patient_links import PatientLinks
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.http.client import http_client, ourselves
from shared.http.gate import Gate
from shared.perform import UnitOfWork
from shared.security.caller import Caller, Node
from shared.security.certificate_check import Known
from shared.security.peer_certificate import own_node
from shared.security.rights import NodeList, Rights
from shared.soap.client import SoapClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every request shares; `node` is ourselves, as peers see us.

    Queries and relays have connections of their own: slow readers of large studies hold up no query.
    """

    settings: GatewaySettings
    communities: Communities
    rights: Rights
    gateways: dict[str, NodeList]
    links: PatientLinks
    queries: httpx2.AsyncClient
    retrievals: httpx2.AsyncClient
    relays: Gate
    recorder: AuditRecorder
    node: Node
    spool_folder: Path

    @classmethod
    def of(cls, settings: GatewaySettings, recorder: AuditRecorder) -> Parts:
        """Make the parts; the HTTP clients are to be closed at the end."""
        spool_folder = settings.folder / "incoming"
        spool_folder.mkdir(parents=True, exist_ok=True)
        answerers = _known(settings)
        return cls(
            settings=settings,
            communities=Communities.of(settings.home_community_id, settings.gateways),
            rights=Rights(settings),
            gateways={
                home: NodeList((entry,), "XDSI_COMMUNITY_GATEWAYS")
                for home, entry in settings.community_gateways.items()
            },
            links=PatientLinks(settings.patient_links),
            queries=http_client(settings.tls, peers=settings.peers, known=answerers),
            retrievals=http_client(settings.tls, peers=settings.peers, known=answerers, relaying=True),
            relays=Gate(settings.relays),
            recorder=recorder,
            node=own_node(recorder.source.hostname, settings.tls.certificate),
            spool_folder=spool_folder,
        )


@dataclass(slots=True)
class Unit(UnitOfWork[Parts]):
    """One request of `caller`, whose assertion goes on unchanged to whoever is asked (ITI TF-2 3.40)."""

    @property
    def own_home(self) -> str:
        """The homeCommunityId of our community."""
        return self.parts.communities.own.home_community_id

    def client(self, http: httpx2.AsyncClient) -> SoapClient:
        """A client that shows the caller's assertion, when there is one."""
        assertion = self.caller.assertion or None
        return SoapClient(http, assertion=lambda: assertion, spool_folder=self.parts.spool_folder)

    def sender(self, endpoint: str) -> Caller:
        """Ourselves, as the server at `endpoint` sees us."""
        # What was asked there went by one of them, and the way to a peer is the same for both.
        node = ourselves(self.parts.node, self.parts.queries, endpoint)
        return Caller(
            node=ourselves(node, self.parts.retrievals, endpoint), endpoint=endpoint, user=self.caller.user
        )

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Keep events of what becomes known while an answer is sent already."""
        await self.parts.recorder.record(events)


def _known(settings: GatewaySettings) -> Mapping[str, Known]:
    """Who may answer: for our own actors nodes of our community, for a community the node that is named."""
    named = {
        url: NodeList((entry,), "XDSI_RESPONDING_GATEWAYS").__contains__
        for home, entry in settings.responding_gateways.items()
        for url in settings.gateways[home].values()
    }
    return {**named, **dict.fromkeys(settings.own_actors, Rights(settings).community)}
