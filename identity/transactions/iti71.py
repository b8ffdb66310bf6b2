"""Get Access Token [ITI-71] by token exchange (RFC 8693): a sign-in at a provider for an assertion, or for an
access token, of the person whom the community knows by it.

The pages of the community ask, each a node with a certificate; the subject token is the ID token that the
provider made for one of them, so that nobody's word but the provider's says who signed in.
"""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from identity.domain.person import Login, Person, code_of
from identity.store import people
from identity.transactions.oauth import NOT_KEPT, OAuthError, OAuthRefusal, parameters_of
from identity.transactions.subject_token import record_refusal, sign_in_of
from identity.unit import Parts, Unit
from shared.audit.events import AuditEvent, Coded, Outcome, user_authorization
from shared.ebrim.identifiers import is_cx
from shared.ebrim.model import Code
from shared.rest.message import HttpRequest, HttpResponse, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.access_token import thumbprint
from shared.security.caller import Caller, User
from shared.security.id_token import IdToken
from shared.security.issuer import AssertionContent
from shared.security.rights import Right

ITI71: Final = Coded("ITI-71", "IHE", "User Authorization")
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_KIND: Final = "urn:ietf:params:oauth:token-type:"
ID_TOKEN: Final = f"{_KIND}id_token"
SAML: Final = f"{_KIND}saml2"
#: As IUA spells them, and RFC 8693.
_JWTS: Final = frozenset({f"{_KIND}jwt", f"{_KIND}access_token", f"{_KIND}access-token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """What is asked for; `purpose` and `patient_id` are what the assertion or token shall name."""

    subject_token: str
    kind: str
    audience: str = ""
    scope: str = ""
    purpose: Code | None = None
    patient_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What is issued to a person; `content` is the token, an assertion in base64url without padding."""

    user: User
    content: str
    kind: str
    scope: str
    seconds: float


async def decode(request: HttpRequest) -> TokenRequest:
    """Read the form; raises `OAuthRefusal` for another grant than token exchange."""
    form = await parameters_of(request)
    if form.get("grant_type") != EXCHANGE:
        raise OAuthRefusal("unsupported_grant_type", f"the grant that is offered is {EXCHANGE}")
    if form.get("subject_token_type") != ID_TOKEN or not form.get("subject_token"):
        raise OAuthRefusal("invalid_request", f"subject_token is needed, of the type {ID_TOKEN}")
    return TokenRequest(
        subject_token=form["subject_token"],
        kind=_kind(form.get("requested_token_type", SAML)),
        audience=form.get("resource") or form.get("audience", ""),
        scope=form.get("scope", ""),
        purpose=code_of(form["purpose_of_use"]) if form.get("purpose_of_use") else None,
        patient_id=_patient(form.get("patient_id", "")),
    )


def _kind(kind: str) -> str:
    if kind != SAML and kind not in _JWTS:
        raise OAuthRefusal("invalid_request", f"requested_token_type is {SAML} or {_KIND}jwt")
    return kind


def _patient(patient_id: str) -> str:
    if patient_id and not is_cx(patient_id):
        raise OAuthRefusal("invalid_request", "patient_id is no CX; send ID^^^&OID&ISO")
    return patient_id


async def handle(unit: Unit, request: TokenRequest) -> Issued:
    """Issue to who signed in what was asked for."""
    parts = unit.parts
    signed_in = await sign_in_of(unit, request.subject_token)
    person = await people.find_by_login(
        parts.database, Login(issuer=signed_in.issuer, subject=signed_in.subject)
    )
    if person is None or person.disabled:
        why = "the person is disabled" if person else "no person of the community has this login"
        await record_refusal(unit, f"<{signed_in.subject[:128]}@{signed_in.issuer[:128]}>", why)
        raise OAuthRefusal("invalid_grant", "this sign-in is of nobody whom the community lets in")
    purpose = _purpose(parts, request, signed_in)
    resource_ids = tuple(dict.fromkeys(filter(None, (request.patient_id or person.patient_id,))))
    if person.patient_id and request.patient_id not in ("", person.patient_id):
        raise OAuthRefusal("invalid_request", "a patient is given nothing about another patient")
    if request.kind == SAML:
        return _assertion(parts, person, purpose, resource_ids, request.audience)
    return _access_token(unit, person, purpose, resource_ids, request)


def _purpose(parts: Parts, request: TokenRequest, signed_in: IdToken) -> Code:
    settings = parts.settings
    purpose = request.purpose or code_of(settings.purposes[0])
    name = f"{purpose.value}^^{purpose.scheme}"
    if name in settings.emergency_purposes:
        oldest = datetime.now(UTC) - timedelta(seconds=settings.emergency_seconds)
        if signed_in.authenticated is None or signed_in.authenticated < oldest:
            raise OAuthRefusal(
                "insufficient_user_authentication",
                "for this purpose the person must have signed in just now (max_age)",
            )
    elif name not in settings.purposes:
        raise OAuthRefusal("invalid_request", "purpose_of_use is none of XDSI_IDENTITY__PURPOSES")
    return purpose


def _assertion(
    parts: Parts, person: Person, purpose: Code, resource_ids: tuple[str, ...], audience: str
) -> Issued:
    settings = parts.settings
    if parts.assertions is None:
        raise OAuthRefusal(
            "invalid_request",
            "no assertions are issued here (XDSI_ASSERTION__ISSUER, …__KEY, …__CERTIFICATE)",
        )
    content = AssertionContent(
        name_id=person.name,
        audience=audience or settings.audience,
        roles=person.roles,
        purposes=(purpose,),
        organization=person.organization,
        organization_ids=person.organization_ids,
        subject_id=person.display_name,
        home_community_id=settings.home_community_id,
        resource_ids=resource_ids,
        lifetime_seconds=settings.lifetime_seconds,
    )
    octets = parts.assertions.sign(content)
    return Issued(
        user=_user(person, purpose, parts.assertions.issuer),
        content=urlsafe_b64encode(octets).rstrip(b"=").decode(),
        kind=SAML,
        scope="",
        seconds=settings.lifetime_seconds,
    )


def _access_token(
    unit: Unit, person: Person, purpose: Code, resource_ids: tuple[str, ...], request: TokenRequest
) -> Issued:
    parts, settings = unit.parts, unit.parts.settings
    scopes = request.scope.split() or settings.scopes
    scope = " ".join(each for each in scopes if each in settings.scopes)
    if not scope:
        raise OAuthRefusal("invalid_scope", f"scopes are {' '.join(settings.scopes)}")
    now, fingerprint = int(time.time()), unit.caller.node.fingerprint
    claims: dict[str, Any] = {
        "iss": settings.endpoint,
        "sub": person.name,
        "client_id": unit.caller.node.subject or "node",
        "aud": request.audience or settings.audience,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + int(settings.lifetime_seconds),
        "scope": scope,
        "extensions": {
            "ihe_iua": _said(person, purpose) | {"home_community_id": settings.home_community_id},
            "ihe_bppc": {"patient_id": resource_ids[0]} if resource_ids else {},
        },
    }
    if fingerprint and settings.token.bound:
        claims["cnf"] = {"x5t#S256": thumbprint(fingerprint)}
    return Issued(
        user=_user(person, purpose, settings.endpoint),
        content=parts.keys.sign(claims),
        kind=request.kind,
        scope=scope,
        seconds=settings.lifetime_seconds,
    )


def _said(person: Person, purpose: Code) -> dict[str, Any]:
    content: dict[str, Any] = {
        "subject_name": person.display_name,
        "subject_organization": person.organization,
        "subject_role": [_coding(role) for role in person.roles],
        "purpose_of_use": [_coding(purpose)],
    }
    if person.organization_ids:
        content["subject_organization_id"] = person.organization_ids[0]
    return content


def _coding(code: Code) -> dict[str, str]:
    return {
        "code": code.value,
        "system": f"urn:oid:{code.scheme}",
        "display": code.display_name or code.value,
    }


def _user(person: Person, purpose: Code, issuer: str) -> User:
    return User(
        name_id=person.name,
        issuer=issuer,
        assertion_id="",
        subject_id=person.display_name,
        roles=person.roles,
        purposes=(purpose,),
    )


def audit(
    _: TokenRequest, response: Issued | None, caller: Caller, outcome: Outcome
) -> tuple[AuditEvent, ...]:
    """Describe what was issued to whom, or that nothing was."""
    user = None if response is None else response.user
    return (user_authorization(ITI71, caller, outcome, user=user),)


def encode(issued: Issued) -> HttpResponse:
    """The answer of RFC 8693 2.2.1."""
    content = {
        "access_token": issued.content,
        "issued_token_type": issued.kind,
        "token_type": "Bearer",
        "expires_in": int(issued.seconds),
        "scope": issued.scope,
    }
    answer = json_response(content)
    return HttpResponse(media_type=answer.media_type, headers=NOT_KEPT, pieces=answer.pieces)


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
