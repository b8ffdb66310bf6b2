"""Introspect Token [ITI-102] (RFC 7662): whether an access token of ours holds, and what it says.

Who asks is a node by its certificate; one that brings a token of its own too (IUA, `Bearer`) is asked for a
good one. Who was disabled since has no token that holds, whatever services that do not ask take until it
expires.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

from identity.store import people
from identity.transactions.oauth import NOT_KEPT, OAuthError, OAuthRefusal, parameters_of
from identity.transactions.subject_token import record_refusal
from identity.unit import Unit
from shared.rest.message import HttpRequest, HttpResponse, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.rights import Right


class TokenRefusal(OAuthRefusal):
    """Who asks is not let in by its own token (RFC 6750 3.1)."""

    status = HTTPStatus.UNAUTHORIZED
    headers: ClassVar[Mapping[str, str]] = {"www-authenticate": 'Bearer realm="xdsi", error="invalid_token"'}

    def __init__(self) -> None:
        super().__init__("invalid_token", "the token of who asks is not accepted")


@dataclass(frozen=True, slots=True)
class Introspection:
    """The token that is asked about, and that of who asks, where one came."""

    token: str
    own: str | None = None


async def decode(request: HttpRequest) -> Introspection:
    """Read the form; raises `OAuthRefusal` for one without a token."""
    form = await parameters_of(request)
    if not form.get("token"):
        raise OAuthRefusal("invalid_request", "token is needed")
    kind, _, own = request.headers.get("authorization", "").partition(" ")
    return Introspection(form["token"], own.strip() if kind.lower() == "bearer" else None)


async def handle(unit: Unit, request: Introspection) -> Mapping[str, Any]:
    """What the token says, while it holds; of any other nothing but that it does not.

    Raises
    ------
    TokenRefusal
        Who asks brought a token that does not hold, or that speaks for a person.
    """
    if request.own is not None:
        await _check_own(unit, request.own)
    claims = unit.parts.keys.claims_of(request.token)
    if claims is None or not await _is_let_in(unit, claims):
        return {"active": False}
    return {"active": True, "token_type": "DPoP" if _key_of(claims) else "Bearer", **claims}


async def _check_own(unit: Unit, token: str) -> None:
    claims = unit.parts.keys.claims_of(token)
    # One that is bound to a key is no bearer token (RFC 9449 7.2).
    if (
        claims is None
        or _key_of(claims)
        or claims["sub"] != claims["client_id"]
        or not await _is_let_in(unit, claims)
    ):
        await record_refusal(unit, "", "who asks about a token brought none that holds", door="ITI-102")
        raise TokenRefusal


def _key_of(claims: Mapping[str, Any]) -> str:
    """The key to which a token is bound; empty where it is bound to none."""
    return str(claims.get("cnf", {}).get("jkt", ""))


async def _is_let_in(unit: Unit, claims: Mapping[str, Any]) -> bool:
    """Whether the person is, or the client that speaks for itself."""
    parts, subject = unit.parts, claims["sub"]
    if subject == claims["client_id"]:
        return subject in parts.settings.clients
    return await people.is_let_in(parts.database, subject)


def encode(content: Mapping[str, Any]) -> HttpResponse:
    """The answer, which nobody keeps."""
    answer = json_response(content)
    return HttpResponse(media_type=answer.media_type, headers=NOT_KEPT, pieces=answer.pieces)


SERVED: ServedRest[Any, Any] = ServedRest(
    number="ITI-102",
    name="Introspect Token",
    routes=("POST /introspect",),
    right=Right.ASK,
    scheme=NodeAlone,
    error_form=OAuthError,
    decode=decode,
    handle=handle,
    encode=encode,
)
