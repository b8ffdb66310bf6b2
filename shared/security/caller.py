"""Who is calling: the node by its certificate (ITI-19), the user by an assertion (ITI-40)."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.ebrim.model import Code
from shared.settings import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The system at the other end of the connection.

    `subject` is the subject DN of its certificate as an RFC 4514 string, `issuer` that of its issuer,
    `fingerprint` the hexadecimal SHA-256 of the certificate; they are empty on loopback without TLS.
    `address` is the TCP peer, or the client that a proxy named; `relayed` when a proxy named none, whose own
    address it is then.
    """

    address: str
    subject: str = ""
    fingerprint: str = ""
    issuer: str = ""
    relayed: bool = False

    @property
    def peer(self) -> str:
        """By what its share of this service is counted: its certificate, or its address without one."""
        return self.fingerprint or self.address

    @property
    def is_on_this_machine(self) -> bool:
        """Whether it calls from this machine, by itself or by a proxy that says so."""
        return is_loopback(self.address) and not self.relayed


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The human or system that an assertion speaks of; every value was read from verified octets."""

    name_id: str
    issuer: str
    assertion_id: str
    alias: str = ""
    subject_id: str = ""
    organization: str = ""
    organization_ids: tuple[str, ...] = ()
    home_community_id: str = ""
    roles: tuple[Code, ...] = ()
    purposes: tuple[Code, ...] = ()
    resource_ids: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """`user@issuer`: one person, whatever the alias."""
        return f"{self.name_id}@{self.issuer}"

    @property
    def audit_name(self) -> str:
        """`alias<user@issuer>` (ITI TF-2 3.40.4.2)."""
        return f"{self.alias}<{self.identity}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One request's sender; `user` is None when the node speaks for itself.

    `endpoint` is the URI that was called, without query; `reply_to` the sender's `wsa:ReplyTo` when it is not
    anonymous. `community_node` marks a node of this community itself (another service, an operator's tool):
    it may register, feed and read policies without a user, and never receives patient data without one.
    `may_consent` tells that the node may submit consent documents, which decide who sees what. `message_id`
    is the request's `wsa:MessageID`, or empty: a submission that comes again with it is answered as before.
    `assertion` is what proved the user, as it was received, where it is to be passed on.
    `repositories` and `domains` are those to which the register of nodes binds the node: for which it
    registers, whose patients it feeds; empty, it binds nothing.
    """

    node: Node
    endpoint: str
    user: User | None = None
    reply_to: str = ""
    community_node: bool = False
    may_consent: bool = False
    message_id: str = ""
    repositories: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    assertion: bytes = field(default=b"", repr=False, compare=False)
