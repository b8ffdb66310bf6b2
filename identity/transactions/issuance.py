"""What is issued to people: assertions (XUA) and access tokens (IUA), whatever was asked by which road."""

from __future__ import annotations

import secrets
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from identity.domain.person import Person, code_of
from identity.transactions.oauth import OAuthRefusal
from identity.unit import Parts, Unit
from shared.ebrim.model import Code
from shared.security.access_token import thumbprint
from shared.security.caller import User
from shared.security.issuer import AssertionContent

KIND: Final = "urn:ietf:params:oauth:token-type:"
SAML: Final = f"{KIND}saml2"
JWT: Final = f"{KIND}jwt"
#: As IUA spells them, and RFC 8693.
JWTS: Final = frozenset({JWT, f"{KIND}access_token", f"{KIND}access-token"})
#: The scope by which a client asks who signed in; it opens nothing.
OPENID: Final = "openid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What is issued; `content` is the token, an assertion in base64url without padding, and `user` of whom
    it speaks. `id_token` says to a client who signed in, and `nonce` is what the next proof has to name."""

    user: User
    content: str
    kind: str
    scope: str
    seconds: float
    id_token: str = ""
    token_type: str = "Bearer"  # noqa: S105  # a scheme
    nonce: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTerms:
    """For which client, for whom and for what an access token is, and to which key it is bound (`jkt`)."""

    client_id: str
    audience: str = ""
    scope: str = ""
    jkt: str = ""


def allowed_purpose(parts: Parts, purpose: Code | None, authenticated: datetime | None) -> Code:
    """The purpose of use that who signed in at `authenticated` may name; the first one without.

    Raises
    ------
    OAuthRefusal
        It is none, or needs a sign-in of this moment.
    """
    settings = parts.settings
    purpose = purpose or code_of(settings.purposes[0])
    name = f"{purpose.value}^^{purpose.scheme}"
    if name in settings.emergency_purposes:
        oldest = datetime.now(UTC) - timedelta(seconds=settings.emergency_seconds)
        if authenticated is None or authenticated < oldest:
            raise OAuthRefusal(
                "insufficient_user_authentication",
                "for this purpose the person must have signed in just now (max_age)",
            )
    elif name not in settings.purposes:
        raise OAuthRefusal("invalid_request", "purpose_of_use is none of XDSI_IDENTITY__PURPOSES")
    return purpose


def patients_of(person: Person, patient_id: str) -> tuple[str, ...]:
    """The patients about whom alone it is; raises `OAuthRefusal` for a patient who asks about another."""
    if person.patient_id and patient_id not in ("", person.patient_id):
        raise OAuthRefusal("invalid_request", "a patient is given nothing about another patient")
    return tuple(filter(None, (patient_id or person.patient_id,)))


def assertion(
    parts: Parts,
    person: Person,
    purpose: Code,
    resource_ids: tuple[str, ...],
    audience: str,
    *,
    begins: datetime | None = None,
    seconds: float | None = None,
) -> tuple[User, bytes]:
    """An assertion of a person that holds for `seconds`, else as long as is set, and the user of whom it
    speaks; raises `OAuthRefusal` where none is made."""
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
        lifetime_seconds=settings.lifetime_seconds if seconds is None else seconds,
        not_before=begins,
    )
    return _user(person, purpose, parts.assertions.issuer), parts.assertions.sign(content)


def issued_assertion(
    parts: Parts,
    person: Person,
    purpose: Code,
    resource_ids: tuple[str, ...],
    audience: str,
    *,
    seconds: float | None = None,
) -> Issued:
    """The same, as a token."""
    seconds = min(seconds or parts.settings.lifetime_seconds, parts.settings.lifetime_seconds)
    user, octets = assertion(parts, person, purpose, resource_ids, audience, seconds=seconds)
    return Issued(
        user=user,
        content=urlsafe_b64encode(octets).rstrip(b"=").decode(),
        kind=SAML,
        scope="",
        seconds=seconds,
    )


def issued_token(
    unit: Unit, person: Person, purpose: Code, resource_ids: tuple[str, ...], terms: TokenTerms
) -> Issued:
    """An access token of a person; raises `OAuthRefusal` where none of the scopes can be had."""
    extensions = {
        "ihe_iua": _said(person, purpose) | {"home_community_id": unit.parts.settings.home_community_id},
        "ihe_bppc": {"patient_id": resource_ids[0]} if resource_ids else {},
    }
    user = _user(person, purpose, unit.parts.settings.endpoint)
    return _token(unit, user, terms, extensions)


def program_token(unit: Unit, terms: TokenTerms) -> Issued:
    """An access token of a client that speaks for itself: a program, and no user anywhere."""
    user = User(name_id=terms.client_id, issuer=unit.parts.settings.endpoint, assertion_id="")
    return _token(unit, user, terms, {})


def _token(unit: Unit, user: User, terms: TokenTerms, extensions: dict[str, Any]) -> Issued:
    settings = unit.parts.settings
    scopes = terms.scope.split() or settings.scopes
    scope = " ".join(each for each in scopes if each in settings.scopes or each == OPENID)
    if not scope:
        raise OAuthRefusal("invalid_scope", f"scopes are {' '.join(settings.scopes)}")
    now, fingerprint = int(time.time()), unit.caller.node.fingerprint
    claims: dict[str, Any] = {
        "iss": settings.endpoint,
        "sub": user.name_id,
        "client_id": terms.client_id,
        "aud": terms.audience or settings.audience,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + int(settings.lifetime_seconds),
        "scope": scope,
        "extensions": extensions,
    }
    if terms.jkt:
        claims["cnf"] = {"jkt": terms.jkt}
    elif fingerprint and settings.token.bound:
        claims["cnf"] = {"x5t#S256": thumbprint(fingerprint)}
    return Issued(
        user=user,
        content=unit.parts.keys.access_token(claims),
        kind=JWT,
        scope=scope,
        seconds=settings.lifetime_seconds,
        token_type="DPoP" if terms.jkt else "Bearer",  # a scheme
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
