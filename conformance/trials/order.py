"""An order: what a person wrote into the boxes of a guide, judged; and the door that it passes.

Whoever orders a trial names whom this service opens connections to. So a target is a host that a setting
names, or this machine while the service itself is heard by this machine alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from lxml import etree
from pydantic import BaseModel, ConfigDict

from conformance.settings import ConformanceSettings
from conformance.tls_contexts import UnusableCertificate, client_context
from conformance.trials.guide import Box, BoxKind, Guide
from shared.settings.kinds import ae_title, http_url, is_oid
from shared.settings.loopback import is_loopback
from shared.xml import XmlError, parse

#: How a consumer is made to act that is none of ours: a person does it.
PERSON: Final = "person"
ENDPOINTS: Final = frozenset(
    {"registry", "repository", "source", "dicomweb", "wado", "feed", "responding", "initiating", "audit"}
    | {"atna", "trail", "consumer", "dimse", "publisher", "front", "pages", "department"}
)


class Order(BaseModel):
    """What a trial is to ask, and whom; how it is written down for the process that runs it."""

    model_config = ConfigDict(frozen=True)

    actor: str
    endpoints: Mapping[str, str] = {}
    domain: str
    home: str = ""
    repository_unique_id: str = ""
    retrieve_location_uid: str = ""
    trust: str = ""
    assertion: str = ""
    without: tuple[str, ...] = ()
    wrong_peers: bool = True
    study_is_there: bool = False
    seconds: float = 3600.0
    certificate: Path | None = None
    key: Path | None = None
    peers: str = ""
    peers_host: str = ""
    peers_syslog: str = ""
    peers_trust: Path | None = None
    entity: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Of the system that is tested; of a consumer at which a person acts, where it asks our peers."""
        return tuple(one if one != PERSON else self.peers for one in self.endpoints.values())


class OrderRefused(Exception):
    """What is written into boxes is not what can be there; `wrong` are the words for each, by its name."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        super().__init__("; ".join(wrong.values()))
        self.wrong = wrong


@dataclass(frozen=True, slots=True)
class TargetDoor:
    """Which systems may be tested from here."""

    settings: ConformanceSettings

    def admits(self, host: str) -> bool:
        """Whether a target may be at `host`."""
        if host.lower().rstrip(".") in {name.lower() for name in self.settings.may_test}:
            return True
        return is_loopback(host) and self.on_loopback

    @property
    def on_loopback(self) -> bool:
        """Whether nobody but this machine hears the service."""
        settings = self.settings
        return is_loopback(settings.host) and is_loopback(settings.public_host or settings.host)

    @property
    def words(self) -> str:
        """Which systems these are, for people."""
        hosts = [*(["this machine"] if self.on_loopback else []), *self.settings.may_test]
        return ", ".join(hosts) or "none"


def peers_host(settings: ConformanceSettings) -> str:
    """Under which name a consumer reaches the peers that are played."""
    return settings.public_host or settings.host


def entity_of(settings: ConformanceSettings) -> str:
    """The application entity that we are: TITLE@host:port."""
    return f"{settings.ae_title}@{peers_host(settings)}:{settings.peers_dimse_port}"


def ordered(guide: Guide, values: Mapping[str, str], settings: ConformanceSettings) -> Order:
    """The order by what was written into the boxes.

    Raises
    ------
    OrderRefused
        With every mistake at once.
    """
    values = {name: value.strip() for name, value in values.items()}
    wrong = dict(_mistakes(guide, values, TargetDoor(settings)))
    if wrong:
        raise OrderRefused(wrong)
    texts = {box.name: values[box.name] for box in guide.boxes if values.get(box.name)}
    endpoints = {name: texts.pop(name) for name in list(texts) if name in ENDPOINTS}
    if guide.actor == "consumer":
        endpoints.setdefault("consumer", PERSON)
    host, tls = peers_host(settings), settings.tls
    return Order(
        actor=guide.actor,
        endpoints=endpoints,
        **{"domain": settings.affinity_domain, **texts},
        without=tuple(option for name, option in guide.options.items() if not values.get(name)),
        wrong_peers=bool(values.get("wrong_peers")),
        study_is_there=bool(values.get("study_is_there")),
        seconds=settings.trial_seconds,
        certificate=tls.certificate,
        key=tls.key,
        peers=f"{host}:{settings.peers_port}",
        peers_host=settings.host,
        peers_syslog=str(settings.peers_syslog_port),
        peers_trust=tls.trust,
        entity=entity_of(settings),
    )


def _mistakes(guide: Guide, values: Mapping[str, str], door: TargetDoor) -> Iterator[tuple[str, str]]:
    for box in guide.boxes:
        value = values.get(box.name, "")
        if not value and box.needed:
            yield box.name, "is needed"
        elif value and (words := _mistake(box, value, door)):
            yield box.name, words
    addresses = [box for box in guide.boxes if box.name in ENDPOINTS]
    if guide.actor != "consumer" and not any(box.needed or values.get(box.name) for box in addresses):
        yield addresses[0].name, "is needed, or another address"


def _mistake(box: Box, value: str, door: TargetDoor) -> str:
    match box.kind:
        case BoxKind.URL:
            return _url_mistake(value, door)
        case BoxKind.ADDRESS:
            return _address_mistake(value, door)
        case BoxKind.ENTITY:
            return _entity_mistake(value, door)
        case BoxKind.OID:
            return "" if is_oid(value) else "is no OID; write digits and dots, for example 2.999.1.2"
        case BoxKind.HOME:
            right = value.startswith("urn:oid:") and is_oid(value.removeprefix("urn:oid:"))
            return "" if right else "is no homeCommunityId; write urn:oid: and an OID"
        case BoxKind.PEM:
            return _pem_mistake(value)
        case BoxKind.ASSERTION:
            return _assertion_mistake(value)


def _url_mistake(value: str, door: TargetDoor) -> str:
    try:
        parts = urlsplit(http_url(value))
    except ValueError as error:
        return str(error)
    if parts.username is not None or parts.password is not None or parts.fragment:
        return "has more than an address needs; write http://host:port/path or https://host:port/path"
    return _host_mistake(parts.hostname or "", door)


def _address_mistake(value: str, door: TargetDoor) -> str:
    host, _, port = value.rpartition(":")
    if not (host and port.isdecimal() and port.isascii() and 0 < int(port) < 65536) or set(host) & set("/@ "):
        return "is no address; write host:port, for example 127.0.0.1:2575"
    return _host_mistake(host.strip("[]"), door)


def _entity_mistake(value: str, door: TargetDoor) -> str:
    title, at, address = value.partition("@")
    try:
        ae_title(title)
    except ValueError as error:
        return str(error) if at else "is no entity; write TITLE@host:port, for example PACS@127.0.0.1:11112"
    return _address_mistake(address, door)


def _host_mistake(host: str, door: TargetDoor) -> str:
    if door.admits(host):
        return ""
    return (
        f"is at {host[:100]}, which may not be tested from here; may be tested: {door.words}. "
        "XDSI_CONFORMANCE__MAY_TEST names further hosts"
    )


def _pem_mistake(value: str) -> str:
    if "PRIVATE KEY" in value:
        return "holds a private key, which nobody else should see; give the certificate alone"
    try:
        client_context(None, None, value)
    except UnusableCertificate:
        return "is no certificate; write PEM, from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----"
    return ""


def _assertion_mistake(value: str) -> str:
    try:
        name = etree.QName(parse(value.encode())).localname
    except XmlError:
        name = ""
    return "" if name == "Assertion" else "is no assertion; write its XML, beginning with <saml2:Assertion"
