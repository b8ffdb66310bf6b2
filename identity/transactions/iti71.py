"""Get Access Token [ITI-71]: a sign-in becomes an assertion, or an access token, of the person whom the
community knows by it; and a client gets a token of its own.

By token exchange (RFC 8693) the subject token is the ID token that a provider made for a page of ours, so
that nobody's word but the provider's says who signed in. By authorization code people signed in here
(`identity.pages`). Who asks is a node with a certificate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from identity.domain.authorization import CodeGrant
from identity.domain.person import Login, code_of
from identity.store.single_use import take_code
from identity.transactions.clients import ClientProof, client_proof, proved_client
from identity.transactions.issuance import (
    JWTS,
    KIND,
    OPENID,
    SAML,
    Issued,
    TokenTerms,
    allowed_purpose,
    issued_assertion,
    issued_token,
    patients_of,
    program_token,
)
from identity.transactions.oauth import NOT_KEPT, OAuthError, OAuthRefusal, parameters_of
from identity.transactions.possession import NONCE, PROOF, proved_key
from identity.transactions.subject_token import person_of, record_refusal, sign_in_of
from identity.unit import Unit
from shared.audit.events import AuditEvent, Coded, Outcome
from shared.audit.node_events import user_authorization
from shared.ebrim.identifiers import is_cx
from shared.ebrim.model import Code
from shared.rest.message import HttpRequest, HttpResponse, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.caller import Caller
from shared.security.possession import proof_in
from shared.security.rights import Right

ITI71: Final = Coded("ITI-71", "IHE", "User Authorization")
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
CODE: Final = "authorization_code"
CLIENT: Final = "client_credentials"
ID_TOKEN: Final = f"{KIND}id_token"
_ID_TOKEN_SECONDS: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenExchange:
    """What is asked for; `purpose` and `patient_id` are what the assertion or token shall name. What an
    access token becomes says what the token says."""

    subject_token: str
    kind: str
    of_access_token: bool = False
    audience: str = ""
    scope: str = ""
    purpose: Code | None = None
    patient_id: str = ""
    proof: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRedemption:
    """A code, and by what its client proves that it asked for it."""

    client: ClientProof
    code: str
    redirect_uri: str
    verifier: str
    proof: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRequest:
    """A client that asks for itself."""

    client: ClientProof
    audience: str
    scope: str
    proof: str | None = None


TokenRequest = TokenExchange | CodeRedemption | ClientRequest


# --- what is asked ---------------------------------------------------------------------------------------


async def decode(request: HttpRequest) -> TokenRequest:
    """Read the form; raises `OAuthRefusal` for a grant that is not offered."""
    form = await parameters_of(request)
    grant = _GRANTS.get(form.get("grant_type", ""))
    if grant is None:
        raise OAuthRefusal("unsupported_grant_type", f"the grants that are offered are {', '.join(_GRANTS)}")
    # The key to which the token is to be bound (RFC 9449 5), where it is to be.
    proof = proof_in(request.scope["headers"]) if PROOF in request.headers else None
    return replace(grant(request, form), proof=proof)


def _exchange(_: HttpRequest, form: Mapping[str, str]) -> TokenRequest:
    of_access_token = form.get("subject_token_type") in JWTS
    if not (form.get("subject_token_type") == ID_TOKEN or of_access_token) or not form.get("subject_token"):
        raise OAuthRefusal(
            "invalid_request", f"subject_token is needed, of the type {ID_TOKEN} or {KIND}access_token"
        )
    if of_access_token and (absent := [name for name in ("purpose_of_use", "patient_id") if form.get(name)]):
        raise OAuthRefusal("invalid_request", f"{absent[0]} is what the access token says of it")
    return TokenExchange(
        subject_token=form["subject_token"],
        kind=_kind(form.get("requested_token_type", SAML)),
        of_access_token=of_access_token,
        audience=_audience(form),
        scope=form.get("scope", ""),
        purpose=code_of(form["purpose_of_use"]) if form.get("purpose_of_use") else None,
        patient_id=_patient(form.get("patient_id", "")),
    )


def _code(request: HttpRequest, form: Mapping[str, str]) -> TokenRequest:
    if absent := [name for name in ("code", "redirect_uri", "code_verifier") if not form.get(name)]:
        raise OAuthRefusal("invalid_request", f"{absent[0]} is needed")
    return CodeRedemption(
        client=client_proof(request, form),
        code=form["code"],
        redirect_uri=form["redirect_uri"],
        verifier=form["code_verifier"],
    )


def _client(request: HttpRequest, form: Mapping[str, str]) -> TokenRequest:
    return ClientRequest(
        client=client_proof(request, form), audience=_audience(form), scope=form.get("scope", "")
    )


_GRANTS: Final[Mapping[str, Callable[[HttpRequest, Mapping[str, str]], TokenRequest]]] = {
    CODE: _code,
    CLIENT: _client,
    EXCHANGE: _exchange,
}


def _audience(form: Mapping[str, str]) -> str:
    """For whom it is: `resource` (RFC 8707), `audience` (RFC 8693) or `aud` (SMART), which name the same."""
    targets = {form[name] for name in ("resource", "audience", "aud") if form.get(name)}
    if len(targets) > 1:
        raise OAuthRefusal("invalid_target", "resource, audience and aud name several; send one")
    return targets.pop() if targets else ""


def _kind(kind: str) -> str:
    if kind != SAML and kind not in JWTS:
        raise OAuthRefusal("invalid_request", f"requested_token_type is {SAML} or {KIND}jwt")
    return kind


def _patient(patient_id: str) -> str:
    if patient_id and not is_cx(patient_id):
        raise OAuthRefusal("invalid_request", "patient_id is no CX; send ID^^^&OID&ISO")
    return patient_id


# --- what is done ----------------------------------------------------------------------------------------


async def handle(unit: Unit, request: TokenRequest) -> Issued:
    """Issue what was asked for, to whom it may be issued."""
    if request.proof is None:
        return await _issued(unit, request, "")
    issued = await _issued(unit, request, await proved_key(unit, request.proof))
    nonces = unit.parts.nonces
    return issued if nonces is None else replace(issued, nonce=nonces.fresh())


async def _issued(unit: Unit, request: TokenRequest, jkt: str) -> Issued:
    match request:
        case TokenExchange():
            return await _exchanged(unit, request, jkt)
        case CodeRedemption():
            return await _redeemed(unit, request, jkt)
        case ClientRequest():
            return await _granted_to_client(unit, request, jkt)


async def _exchanged(unit: Unit, request: TokenExchange, jkt: str) -> Issued:
    if jkt and request.kind == SAML:
        raise OAuthRefusal(
            "invalid_request", "an assertion is not bound to a key; ask for a JWT, or send no DPoP"
        )
    if request.of_access_token:
        return await _passed_on(unit, request)
    parts = unit.parts
    signed_in = await sign_in_of(unit, request.subject_token)
    person = await person_of(unit, Login(issuer=signed_in.issuer, subject=signed_in.subject))
    purpose = allowed_purpose(parts, request.purpose, signed_in.authenticated)
    resource_ids = patients_of(person, request.patient_id)
    if request.kind == SAML:
        return issued_assertion(parts, person, purpose, resource_ids, request.audience)
    terms = TokenTerms(
        client_id=unit.caller.node.subject or "node",
        audience=request.audience,
        scope=request.scope,
        jkt=jkt,
    )
    return issued_token(unit, person, purpose, resource_ids, terms)


async def _passed_on(unit: Unit, request: TokenExchange) -> Issued:
    """An assertion for a service of the community, which was brought an access token of ours and verified it,
    and asks others in the name of its user; it says no more than the token, and holds no longer."""
    parts = unit.parts
    if not unit.caller.community_node or request.kind != SAML:
        raise OAuthRefusal("invalid_request", f"services of the community exchange access tokens, for {SAML}")
    claims = parts.keys.claims_of(request.subject_token)
    if claims is None or claims["sub"] == claims["client_id"]:
        await record_refusal(unit, "", "the access token is none of ours that holds, or of no person")
        raise OAuthRefusal("invalid_grant", "the access token is not accepted")
    person = await person_of(unit, Login(issuer=parts.settings.endpoint, subject=claims["sub"]))
    extensions = claims["extensions"]
    (purpose,) = extensions["ihe_iua"]["purpose_of_use"]
    return issued_assertion(
        parts,
        person,
        Code(purpose["code"], purpose["system"].removeprefix("urn:oid:"), purpose["display"]),
        patients_of(person, extensions["ihe_bppc"].get("patient_id", "")),
        request.audience,
        seconds=claims["exp"] - time.time(),
    )


async def _redeemed(unit: Unit, request: CodeRedemption, jkt: str) -> Issued:
    parts = unit.parts
    # A code is worth nothing any more, whatever is wrong with what came beside it.
    grant = await take_code(parts.database, request.code)
    await proved_client(unit, request.client)
    if grant is None or not _is_asked_by(grant, request) or not grant.is_for_key(jkt):
        why = _why_not(grant, jkt)
        await record_refusal(unit, f"<{request.client.client_id[:128]}>", why)
        raise OAuthRefusal("invalid_grant", "the code is not accepted")
    sign_in, authorization = grant.sign_in, grant.authorization
    person = await person_of(unit, Login(issuer=parts.settings.endpoint, subject=sign_in.name))
    terms = TokenTerms(
        client_id=authorization.client_id,
        audience=authorization.resource,
        scope=authorization.scope,
        jkt=jkt,
    )
    purpose = allowed_purpose(parts, None, None)
    issued = issued_token(unit, person, purpose, patients_of(person, ""), terms)
    return _with_id_token(unit, issued, grant)


def _is_asked_by(grant: CodeGrant, request: CodeRedemption) -> bool:
    asked_for = grant.authorization
    return (asked_for.client_id, asked_for.redirect_uri) == (
        request.client.client_id,
        request.redirect_uri,
    ) and grant.is_proved_by(request.verifier)


def _why_not(grant: CodeGrant | None, jkt: str) -> str:
    if grant is None:
        return "the code is unknown, used or too old"
    if not grant.is_for_key(jkt):
        return "the code was asked for with another key (dpop_jkt) than is proved"
    return "the code is of another request"


def _with_id_token(unit: Unit, issued: Issued, grant: CodeGrant) -> Issued:
    """What was issued, and the ID token, for a client that asked who signed in."""
    authorization, sign_in = grant.authorization, grant.sign_in
    if OPENID not in authorization.scope.split():
        return issued
    now = int(time.time())
    claims = {
        "iss": unit.parts.settings.endpoint,
        "sub": sign_in.name,
        "aud": authorization.client_id,
        "iat": now,
        "exp": now + _ID_TOKEN_SECONDS,
        "auth_time": sign_in.seconds,
        "amr": list(sign_in.methods),
        **({"nonce": authorization.nonce} if authorization.nonce else {}),
    }
    return replace(issued, id_token=unit.parts.keys.id_token(claims))


async def _granted_to_client(unit: Unit, request: ClientRequest, jkt: str) -> Issued:
    client = await proved_client(unit, request.client)
    if not (client.secret_sha256 or client.node or client.keys):
        raise OAuthRefusal("unauthorized_client", "a client that proves nothing gets no token of its own")
    terms = TokenTerms(
        client_id=request.client.client_id, audience=request.audience, scope=request.scope, jkt=jkt
    )
    return program_token(unit, terms)


def audit(
    _: TokenRequest, response: Issued | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe what was issued to whom, or that nothing was."""
    user = None if response is None else response.user
    return (user_authorization(ITI71, caller, outcome, user=user),)


def encode(issued: Issued) -> HttpResponse:
    """The answer of RFC 6749 5.1 and RFC 8693 2.2.1."""
    content = {
        "access_token": issued.content,
        "issued_token_type": issued.kind,
        "token_type": issued.token_type,
        "expires_in": int(issued.seconds),
        "scope": issued.scope,
        **({"id_token": issued.id_token} if issued.id_token else {}),
    }
    answer = json_response(content)
    headers = {**NOT_KEPT, NONCE: issued.nonce} if issued.nonce else NOT_KEPT
    return HttpResponse(media_type=answer.media_type, headers=headers, pieces=answer.pieces)


SERVED: ServedRest[Any, Any] = ServedRest(
    number="ITI-71",
    name="Get Access Token",
    routes=("POST /token",),
    right=Right.ASK,
    scheme=NodeAlone,
    error_form=OAuthError,
    decode=decode,
    handle=handle,
    audit=audit,
    event=ITI71,
    encode=encode,
)
