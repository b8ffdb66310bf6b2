"""Clients, and how one proves at the token endpoint that it is who it says (RFC 6749 3.2.1, RFC 7523 2.2,
RFC 8705 2)."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import unquote_plus

from identity.settings import ClientSettings
from identity.store.single_use import use_assertion
from identity.transactions.oauth import OAuthRefusal
from identity.transactions.subject_token import record_refusal
from identity.unit import Unit
from shared.faults import SecurityFault
from shared.rest.message import HttpRequest
from shared.security.client_assertion import claimed_client, verified_client_assertion

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class ClientRefusal(OAuthRefusal):
    """A client does not prove who it is (RFC 6749 5.2)."""

    status = HTTPStatus.UNAUTHORIZED
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Basic realm="xdsi"'}

    def __init__(self) -> None:
        super().__init__("invalid_client", "this client is not known here, or does not prove that it is it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProof:
    """Who a client says it is, and the secret or the assertion that it sent, if any."""

    client_id: str
    secret: str = ""
    assertion: str = ""


def client_proof(request: HttpRequest, form: Mapping[str, str]) -> ClientProof:
    """What a token request says of its client: HTTP Basic, an assertion, or `client_id` alone; raises
    `OAuthRefusal`."""
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
    if assertion := form.get("client_assertion", ""):
        if form.get("client_assertion_type") != ASSERTION_TYPE or kind:
            raise OAuthRefusal(
                "invalid_request",
                f"client_assertion is alone, and of the client_assertion_type {ASSERTION_TYPE}",
            )
        return ClientProof(client_id=form.get("client_id") or claimed_client(assertion), assertion=assertion)
    if kind.lower() != "basic":
        return ClientProof(client_id=form.get("client_id", ""))
    client_id, secret = _pair(credentials)
    if form.get("client_id", client_id) != client_id:
        raise OAuthRefusal("invalid_request", "client_id is another than that of the Authorization")
    return ClientProof(client_id=client_id, secret=secret)


def _pair(credentials: str) -> tuple[str, str]:
    try:
        name, _, secret = b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        raise OAuthRefusal("invalid_request", "the Authorization header cannot be read") from None
    return unquote_plus(name), unquote_plus(secret)


async def proved_client(unit: Unit, proof: ClientProof) -> ClientSettings:
    """The client, which proved all that its settings ask for; one that they ask nothing of is public.

    Raises
    ------
    ClientRefusal
        It is unknown, or proves it not; why is in the trail.
    """
    client = unit.parts.settings.clients.get(proof.client_id)
    if client is None:
        why = "the client is unknown"
    elif client.node and client.node != unit.caller.node.fingerprint:
        why = "the client came with the certificate of another node"
    elif not _is_secret(proof.secret, client.secret_sha256):
        why = "the secret of the client is wrong"
    elif client.keys and (flaw := await _flaw_of_assertion(unit, proof)):
        why = flaw
    else:
        return client
    await record_refusal(unit, f"<{proof.client_id[:128]}>", why)
    raise ClientRefusal


async def _flaw_of_assertion(unit: Unit, proof: ClientProof) -> str:
    """Why the assertion of a client does not prove it; empty when it does, which it does once."""
    parts = unit.parts
    endpoint, skew = parts.settings.endpoint, timedelta(seconds=parts.settings.assertion.skew_seconds)
    if not proof.assertion:
        return "the client brought no assertion, by which it proves itself"
    try:
        proved = await verified_client_assertion(
            proof.assertion, parts.client_keys, (endpoint, f"{endpoint}/token"), datetime.now(UTC), skew
        )
    except SecurityFault as fault:
        return fault.detail
    if proved.client_id != proof.client_id:
        return "the assertion is of another client"
    if not await use_assertion(parts.database, proved.client_id, proved.jti, proved.ends):
        return "the assertion was used before"
    return ""


def _is_secret(secret: str, digest: str) -> bool:
    return not digest or hmac.compare_digest(sha256(secret.encode()).hexdigest(), digest)
