"""What one retrieval or query of the consumer works with, and what all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2

from consumer.settings import ConsumerSettings
from shared.audit.events import AuditEvent
from shared.audit.recorder import AuditRecorder
from shared.http.client import http_client, ourselves
from shared.pages.exchange import AssertionExchange, ExchangeRefused, NoReply
from shared.security.caller import Caller, Node, User
from shared.security.peer_certificate import own_node
from shared.settings import SettingsError
from shared.soap.client import PeerError, SoapClient

#: Gives what names the user in the next request: a signed assertion, an access token (a JWT as text; ITI-71),
#: None for the node.
Proof = Callable[[], bytes | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """The parts of a consumer; `proof` is what names its user in the next request."""

    settings: ConsumerSettings
    http: httpx2.AsyncClient
    soap: SoapClient
    recorder: AuditRecorder
    node: Node
    user: User | None
    proof: Proof
    spool_folder: Path
    moves: asyncio.Lock
    """C-MOVE by C-MOVE: they share one port."""

    def caller(self, endpoint: str) -> Caller:
        """Ourselves, as the server at `endpoint` sees us."""
        return Caller(node=ourselves(self.node, self.http, endpoint), endpoint=endpoint, user=self.user)

    async def record(self, *events: AuditEvent | Sequence[AuditEvent]) -> None:
        """Keep events durably; nothing is shown to the user before."""
        flat = [one for event in events for one in ((event,) if isinstance(event, AuditEvent) else event)]
        await self.recorder.record(flat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every unit of one consumer shares; `node` is ourselves, as peers see us. Without an `exchange` an
    access token cannot be passed on."""

    settings: ConsumerSettings
    http: httpx2.AsyncClient
    recorder: AuditRecorder
    node: Node
    spool_folder: Path
    moves: asyncio.Lock
    exchange: AssertionExchange | None = None

    @classmethod
    def of(cls, settings: ConsumerSettings, recorder: AuditRecorder) -> Parts:
        """Make the parts; `http` is to be closed at the end."""
        spool_folder = settings.folder / "incoming"
        spool_folder.mkdir(parents=True, exist_ok=True)
        return cls(
            settings=settings,
            http=http_client(settings.tls, peers=settings.peers, relaying=True),
            recorder=recorder,
            node=own_node(recorder.source.hostname, settings.tls.certificate),
            spool_folder=spool_folder,
            moves=asyncio.Lock(),
            exchange=AssertionExchange(url, settings.tls) if (url := settings.sign_in.exchange_url) else None,
        )

    def unit(self, user: User | None, proof: Proof) -> Unit:
        """The unit that works for `user`, who is proved to peers by `proof`."""
        return Unit(
            settings=self.settings,
            http=self.http,
            soap=SoapClient(
                self.http, assertion=partial(self._assertion, proof), spool_folder=self.spool_folder
            ),
            recorder=self.recorder,
            node=self.node,
            user=user,
            proof=proof,
            spool_folder=self.spool_folder,
            moves=self.moves,
        )

    async def _assertion(self, proof: Proof) -> bytes | None:
        """The assertion of a proof, for which an access token is exchanged (docs/decisions/0078).

        Raises
        ------
        PeerError
            The identity service gives none.
        SettingsError
            No setting says who exchanges tokens.
        """
        token = proof()
        if not isinstance(token, str):
            return token
        url = self.settings.sign_in.exchange_url
        if self.exchange is None or url is None:
            raise SettingsError(
                (
                    "XDSI_SIGN_IN__EXCHANGE_URL: needed to speak for a user by an access token, which SOAP "
                    "does not take; name the token endpoint of the identity service, or give an assertion",
                )
            )
        try:
            return await self.exchange.of_access_token(token)
        except ExchangeRefused:
            reason = "gives no assertion for this access token; it may be over, or of another service"
            raise PeerError(url, reason) from None
        except NoReply as error:
            raise PeerError(url, f"cannot exchange the access token ({error.why})") from None
