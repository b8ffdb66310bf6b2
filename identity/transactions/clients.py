"""Clients, and how one proves at the token endpoint that it is who it says (RFC 6749 3.2.1, RFC 8705 2)."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import unquote_plus

from identity.settings import ClientSettings
from identity.transactions.oauth import OAuthRefusal
from identity.transactions.subject_token import record_refusal
from identity.unit import Unit
from shared.rest.message import HttpRequest


class ClientRefusal(OAuthRefusal):
    """A client does not prove who it is (RFC 6749 5.2)."""

    status = HTTPStatus.UNAUTHORIZED
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Basic realm="xdsi"'}

    def __init__(self) -> None:
        super().__init__("invalid_client", "this client is not known here, or does not prove that it is it")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProof:
    """Who a client says it is, and its secret, if it sent one."""

    client_id: str
    secret: str = ""


def client_proof(request: HttpRequest, form: Mapping[str, str]) -> ClientProof:
    """What a token request says of its client: HTTP Basic, or `client_id` alone; raises `OAuthRefusal`."""
    kind, _, credentials = request.headers.get("authorization", "").partition(" ")
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
    else:
        return client
    await record_refusal(unit, f"<{proof.client_id[:128]}>", why)
    raise ClientRefusal


def _is_secret(secret: str, digest: str) -> bool:
    return not digest or hmac.compare_digest(sha256(secret.encode()).hexdigest(), digest)
