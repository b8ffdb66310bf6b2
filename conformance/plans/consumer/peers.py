"""The peers of a consumer that is judged: simulators at one address, an audit repository, and a host that no
configuration names."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

from conformance.plans.assertions import AssertionText, signed
from conformance.plans.consumer.driving import Driver, driver
from conformance.plans.probe import NotOffered
from conformance.plans.stand import Stand, Unreached
from conformance.simulators.audit_repository import SyslogSimulator, syslog_simulator
from conformance.simulators.scripts import RIGHT, Cast
from conformance.simulators.server import HttpAnswer, HttpRequest, HttpSimulator, http_simulator
from conformance.simulators.world import World

ACTORS: Final = ("registry", "repository", "imaging-source")


@dataclass(slots=True)
class Voice:
    """The user's assertion: as it was given, or signed anew before it ends. `texts` are all that were signed."""

    stand: Stand
    texts: list[str] = field(default_factory=list)
    _until: float = 0.0

    def __call__(self) -> str:
        """What is said now; empty where no user is named."""
        target = self.stand.target
        if target.assertion or target.provider is None:
            return target.assertion
        if time.monotonic() > self._until:
            text = AssertionText(issuer=target.provider.issuer, audience=target.provider.audience)
            self.texts.append(signed(text, target.provider))
            self._until = time.monotonic() + (text.ends or 0.0) / 2
        return self.texts[-1]


@dataclass(slots=True)
class Peers:
    """The simulators, and the consumer that is made to act."""

    cast: Cast
    http: HttpSimulator
    syslog: SyslogSimulator | None
    stranger: HttpSimulator
    driver: Driver
    voice: Voice

    @property
    def world(self) -> World:
        """What the simulators know."""
        return self.cast.world

    def play(self, **scripts: str) -> None:
        """Play by these scripts, the others rightly; `imaging_source` is the imaging source."""
        for actor in ACTORS:
            self.cast.play(actor, scripts.get(actor.replace("-", "_"), RIGHT))

    def play_in(self, world: World) -> None:
        """Play rightly in another world."""
        self.cast.world = world
        self.play()


def peers(stand: Stand) -> Peers:
    """The peers of this run, which listen until its end; raises `NotOffered` without their address."""
    if "peers" not in stand.shared:
        stand.shared["peers"] = _listening(stand)
    listening: Peers = stand.shared["peers"]
    return listening


def _listening(stand: Stand) -> Peers:
    if not stand.target.peers:
        raise NotOffered("no address was given at which the consumer asks its peers (--peers)")
    target = stand.target
    name, _, port = target.peers.rpartition(":")
    host, tls = target.peers_host or name, target.peers_tls
    base = f"{'https' if tls else 'http'}://{name}:{port}"
    playing: ExitStack = stand.lasting
    cast = Cast(World(target.domain, f"{base}/dicomweb"), dict.fromkeys(ACTORS, RIGHT))
    syslog = None
    try:
        http = playing.enter_context(http_simulator(cast.handle, host=host, port=int(port), tls=tls))
        if target.peers_syslog:
            syslog = playing.enter_context(
                syslog_simulator(host=host, port=int(target.peers_syslog), tls=tls)
            )
    except OSError as error:
        raise Unreached(f"the peers cannot listen at {host}, {port}: {error.strerror}") from None
    http.url = base
    stranger = playing.enter_context(http_simulator(_nobody, host=host))
    voice = Voice(stand)
    return Peers(cast, http, syslog, stranger, driver(stand, voice), voice)


def _nobody(request: HttpRequest) -> HttpAnswer:
    return HttpAnswer(b"nobody is here", "text/plain", 404)


def sent(stand: Stand) -> list[HttpRequest]:
    """What the consumer sent while it found and fetched the study once, from peers that are right."""
    if "conversation" not in stand.shared:
        ours = peers(stand)
        ours.play_in(replace(ours.world, location="1.2.3.77", dicomweb=f"{ours.http.url}/dicomweb"))
        stand.shared["conversation"] = _conversation(stand, ours)
    conversation: list[HttpRequest] = stand.shared["conversation"]
    return conversation


def sent_to_the_web(stand: Stand) -> list[HttpRequest]:
    """What it sent where the manifest names a Retrieve URL alone."""
    if "web conversation" not in stand.shared:
        ours = peers(stand)
        usual = ours.world
        ours.play_in(replace(usual, location="", dicomweb=f"{ours.http.url}/dicomweb"))
        stand.shared["web conversation"] = _conversation(stand, ours)
        ours.play_in(usual)
    conversation: list[HttpRequest] = stand.shared["web conversation"]
    return conversation


def _conversation(stand: Stand, ours: Peers) -> list[HttpRequest]:
    before = len(ours.http.requests)
    ours.driver.find(ours.world)
    stand.shared[f"images {ours.world.location}"] = ours.driver.fetch(ours.world)
    requests = ours.http.requests[before:]
    for one in requests:
        stand.keep(f"{one.method} {one.path} of the consumer", one.octets(), b"")
    return requests
