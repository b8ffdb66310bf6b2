"""The register of nodes: which certificate is which actor of which community, and what it may do (ITI-19).

One JSON file for all services of a community, `XDSI_NODES`. Once a node stands in it, it alone says who may:
a node that is not in it, or is revoked there, has no right anywhere. It is read again when it was changed;
one that cannot be read is told by the log, and what was read before holds on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from shared.faults import NodeRefused
from shared.security.caller import Node
from shared.security.doors import Right
from shared.security.file_watch import FileWatch
from shared.security.node_list import normal_dn
from shared.settings.kinds import HomeCommunityId, Oid
from shared.telemetry.log import logger

#: How often a service looks whether the file was changed; a change takes effect within it.
LOOK_SECONDS: Final = 2.0
MOST_BYTES: Final = 16 * 1024 * 1024

_SHA256 = re.compile(r"[0-9a-f]{64}")
_log = logger(__name__)


class NodeActor(StrEnum):
    """What a node is in the exchange, by the names of IHE; the value is how it is written."""

    COMMUNITY_SERVICE = "community-service"
    """A service or tool that speaks for the community itself, and may do everything."""
    DOCUMENT_SOURCE = "document-source"
    DOCUMENT_REPOSITORY = "document-repository"
    DOCUMENT_CONSUMER = "document-consumer"
    DOCUMENT_ADMINISTRATOR = "document-administrator"
    IMAGING_DOCUMENT_SOURCE = "imaging-document-source"
    IMAGING_DOCUMENT_CONSUMER = "imaging-document-consumer"
    PATIENT_IDENTITY_SOURCE = "patient-identity-source"
    INITIATING_GATEWAY = "initiating-gateway"
    RESPONDING_GATEWAY = "responding-gateway"
    MODALITY = "modality"
    SECURE_NODE = "secure-node"


#: What an actor may do where its entry says nothing else; each may send records of what it did (ITI-20).
RIGHTS_OF: Final[Mapping[NodeActor, frozenset[Right]]] = {
    NodeActor.COMMUNITY_SERVICE: frozenset(Right),
    NodeActor.DOCUMENT_SOURCE: frozenset({Right.SUBMIT, Right.RECORD}),
    NodeActor.DOCUMENT_REPOSITORY: frozenset({Right.SUBMIT, Right.POLICIES, Right.RECORD}),
    NodeActor.DOCUMENT_CONSUMER: frozenset({Right.ASK, Right.RECORD}),
    NodeActor.DOCUMENT_ADMINISTRATOR: frozenset({Right.UPDATE, Right.RECORD}),
    NodeActor.IMAGING_DOCUMENT_SOURCE: frozenset({Right.SUBMIT, Right.POLICIES, Right.RECORD}),
    NodeActor.IMAGING_DOCUMENT_CONSUMER: frozenset({Right.ASK, Right.RECORD}),
    NodeActor.PATIENT_IDENTITY_SOURCE: frozenset({Right.FEED, Right.RECORD}),
    NodeActor.INITIATING_GATEWAY: frozenset({Right.CROSS, Right.RECORD}),
    NodeActor.RESPONDING_GATEWAY: frozenset({Right.RECORD}),
    NodeActor.MODALITY: frozenset({Right.STORE, Right.RECORD}),
    NodeActor.SECURE_NODE: frozenset({Right.RECORD}),
}


class RegisterError(ValueError):
    """The register cannot be used; the text says where, what is wrong and what would be right."""


class RegisteredNode(BaseModel):
    """One node. Its certificate is named by `sha256`, or by `subject` and `issuer`, which a renewed one has.

    `rights` are given in place of those of its actors. What is empty binds nothing: the repositories for
    which it registers, the assigning authorities that it feeds, the AE titles it uses. An AE title or an
    AuditSourceID that stands here is used by this node alone. `community` is None for our own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=64)
    sha256: str = ""
    subject: str = ""
    issuer: str = ""
    actors: tuple[NodeActor, ...] = Field(min_length=1)
    community: HomeCommunityId | None = None
    rights: tuple[Right, ...] = ()
    repositories: tuple[Oid, ...] = ()
    domains: tuple[Oid, ...] = ()
    ae_titles: tuple[str, ...] = ()
    audit_sources: tuple[str, ...] = ()
    revoked: datetime | None = None
    reason: str = Field("", max_length=500)

    @field_validator("sha256")
    @classmethod
    def _digest(cls, text: str) -> str:
        digest = text.replace(":", "").lower()
        if digest and not _SHA256.fullmatch(digest):
            raise ValueError("must be the hexadecimal SHA-256 of a certificate, 64 digits")
        return digest

    @field_validator("subject", "issuer")
    @classmethod
    def _name_of_directory(cls, text: str) -> str:
        try:
            return normal_dn(text) if text else ""
        except ValueError:
            raise ValueError("must be a DN (RFC 4514), for example CN=a,O=b") from None

    @model_validator(mode="after")
    def _identified(self) -> Self:
        if not self.sha256 and not (self.subject and self.issuer):
            raise ValueError("needs sha256, or subject and issuer: any authority can write any subject")
        if NodeActor.COMMUNITY_SERVICE in self.actors and self.community is not None:
            raise ValueError("a community-service is of our own community; leave community out")
        if NodeActor.INITIATING_GATEWAY in self.actors and self.community is None:
            raise ValueError("an initiating-gateway asks for another community; name its homeCommunityId")
        return self

    def is_node(self, node: Node) -> bool:
        """Whether `node` showed its certificate."""
        if not node.fingerprint:
            return False
        if self.sha256:
            return self.sha256 == node.fingerprint
        return (self.subject, self.issuer) == (node.subject, node.issuer)

    @property
    def granted(self) -> frozenset[Right]:
        """What it may do."""
        if self.revoked is not None:
            return frozenset()
        if self.rights:
            return frozenset(self.rights)
        return frozenset[Right]().union(*(RIGHTS_OF[actor] for actor in self.actors))

    @property
    def asks_for(self) -> tuple[str, ...]:
        """The community for which it asks as a gateway; none where it is no gateway."""
        is_gateway = self.revoked is None and NodeActor.INITIATING_GATEWAY in self.actors
        return (self.community,) if self.community is not None and is_gateway else ()

    @property
    def speaks_for_community(self) -> bool:
        """Whether it is our own community's, as one of its services."""
        return self.revoked is None and NodeActor.COMMUNITY_SERVICE in self.actors


class NodeRegister:
    """The nodes of one file, as they are now; without a file, or with none in it, there is no register."""

    def __init__(self, nodes: Iterable[RegisteredNode] = ()) -> None:
        self.nodes = tuple(nodes)
        self._by_digest = {one.sha256: one for one in self.nodes if one.sha256}
        self._by_name = {(one.subject, one.issuer): one for one in self.nodes if not one.sha256}
        _check_once(self.nodes)

    def __bool__(self) -> bool:
        return bool(self.nodes)

    def entry(self, node: Node) -> RegisteredNode | None:
        """The entry of a node: a revoked one before all others, then that of the very certificate."""
        entries = (self._by_digest.get(node.fingerprint), self._by_name.get((node.subject, node.issuer)))
        matching = [one for one in entries if one is not None and one.is_node(node)]
        return next((one for one in matching if one.revoked is not None), next(iter(matching), None))

    def of_title(self, ae_title: str) -> tuple[RegisteredNode, ...]:
        """The nodes to which an AE title belongs."""
        return tuple(one for one in self.nodes if ae_title in one.ae_titles)


def _check_once(nodes: tuple[RegisteredNode, ...]) -> None:
    for what, keys in (
        ("name", [one.name for one in nodes]),
        ("certificate", [one.sha256 or f"{one.subject} of {one.issuer}" for one in nodes]),
    ):
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise RegisterError(f"{what} {twice[0]} stands there twice; keep one entry")


def read_register(path: Path) -> NodeRegister:
    """The register in a file.

    Raises
    ------
    RegisterError
        It cannot be read, or an entry cannot be used.
    """
    try:
        with path.open("rb") as file:
            octets = file.read(MOST_BYTES + 1)
        if len(octets) > MOST_BYTES:
            raise RegisterError(f"{path} is larger than {MOST_BYTES} bytes")
        content = json.loads(octets)
    except OSError as error:
        raise RegisterError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise RegisterError(f"{path} is not JSON") from None
    return decode_register(content)


def decode_register(content: Any) -> NodeRegister:
    """The register of a JSON object; raises `RegisterError`."""
    if not isinstance(content, dict) or set(content) != {"nodes"} or not isinstance(content["nodes"], list):
        raise RegisterError('the register of nodes is {"nodes": [...]} and nothing else')
    nodes = []
    for at, each in enumerate(content["nodes"]):
        try:
            nodes.append(RegisteredNode.model_validate(each))
        except ValidationError as error:
            name = each.get("name", "") if isinstance(each, dict) else ""
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "entry"
            what = first["msg"].removeprefix("Value error, ")
            raise RegisterError(f"node {at + 1} {name!r}: {where}: {what}") from None
    return NodeRegister(nodes)


def encode_register(register: NodeRegister) -> bytes:
    """The register as the content of its file; what says nothing is left out."""
    nodes = [one.model_dump(mode="json", exclude_defaults=True) for one in register.nodes]
    return json.dumps({"nodes": nodes}, indent=2, ensure_ascii=False).encode() + b"\n"


class WatchedRegister:
    """The register of the file `path` as it is now, of whatever thread asks.

    Raises
    ------
    RegisterError
        The file cannot be used at the start.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._watch = FileWatch([path], look_seconds=LOOK_SECONDS)
        self._register = NodeRegister() if path is None else read_register(path)

    @property
    def now(self) -> NodeRegister:
        """The register; a file that was changed is read first."""
        if self._path is not None and self._watch.changed():
            self._read_again(self._path)
        return self._register

    def _read_again(self, path: Path) -> None:
        try:
            self._register = read_register(path)
        except RegisterError as error:
            _log.error("the register of nodes cannot be read; the one before holds on", reason=str(error))
        else:
            _log.warning("the register of nodes was changed", nodes=len(self._register.nodes))


def refusal(node: Node, entry: RegisteredNode | None, door: str, right: Right) -> NodeRefused:
    """Why the register lets a node not use a door."""
    if entry is None:
        why = f"{node.subject} (SHA-256 {node.fingerprint}) is not in the register of nodes"
    elif entry.revoked is not None:
        why = f"{entry.name} was revoked on {entry.revoked.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    else:
        why = f"{entry.name} has not the right {right} ({', '.join(entry.actors)})"
    return NodeRefused(
        f"this node may not use {door} here; `xdsi node add` registers nodes, this needs the right {right}",
        f"{door}: {why}",
    )


def check_bound(bound: Collection[str], values: Iterable[str], what: str) -> None:
    """Refuse what goes beyond the entry of a node: `bound` are its values there; none binds nothing.

    Raises
    ------
    NodeRefused
        `what` says what the node does with such a value, for example that it feeds the domain.
    """
    others = sorted(set(values).difference(bound)) if bound else []
    if others:
        names = ", ".join(bound)
        raise NodeRefused(
            f"this node {what} {others[0]}, for which it is not registered; its entry names {names}",
            f"the node {what} {others[0]} (register of nodes: {names})",
        )
