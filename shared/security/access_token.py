"""Access tokens in JWT (IUA, ITI-72; RFC 9068): from a bearer token to the user or client that it proves.

A token says what an assertion says (ITI TF-2 3.72), and becomes the same `User`. Nothing is read of it before
its signature was verified by a key of the issuer that it names; a key is of one kind, and an algorithm of
another kind is never tried with it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError, field_validator

from shared.ebrim.identifiers import is_cx
from shared.ebrim.model import Code
from shared.faults import SecurityFault
from shared.security.caller import Node, User
from shared.security.dpop import key_proof
from shared.security.key_sets import KeySets
from shared.security.possession import KeyProof, ProofFault, SentToken
from shared.security.saml import Window
from shared.security.scopes import NeededScope
from shared.security.signed_token import signed_claims
from shared.security.voices import Voices
from shared.settings import ServiceSettings

#: `IUA-JWT` is what the profile's own example has; tokens of other kinds, as id tokens, are none for access.
_TYPES: Final = ("at+jwt", "application/at+jwt", "iua-jwt")
#: Code systems that have an OID, by the URI that FHIR knows them by.
_OID_OF: Final = {
    "http://terminology.hl7.org/CodeSystem/v3-ActReason": "2.16.840.1.113883.5.8",
    "http://terminology.hl7.org/CodeSystem/v3-RoleCode": "2.16.840.1.113883.5.111",
    "http://terminology.hl7.org/CodeSystem/v3-RoleClass": "2.16.840.1.113883.5.110",
    "http://snomed.info/sct": "2.16.840.1.113883.6.96",
}


# --- what it says -------------------------------------------------------------------------------------


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @field_validator("*")
    @classmethod
    def _in_one_line(cls, value: Any) -> Any:
        # What looks cut short to one reader must not be another name to the next.
        if isinstance(value, str) and not value.isprintable():
            raise ValueError("holds characters that cannot be seen")
        return value


class _Coding(_Said):
    code: StrictStr = Field(min_length=1)
    system: StrictStr = Field(min_length=1)
    display: StrictStr = ""

    @property
    def value(self) -> Code:
        system = _OID_OF.get(self.system, self.system.removeprefix("urn:oid:"))
        return Code(self.code, system, self.display)


class _Iua(_Said):
    subject_name: StrictStr = ""
    subject_organization: StrictStr = ""
    subject_organization_id: StrictStr = ""
    subject_role: tuple[_Coding, ...] = ()
    purpose_of_use: tuple[_Coding, ...] = ()
    home_community_id: StrictStr = ""
    person_id: StrictStr = ""

    @field_validator("subject_role", "purpose_of_use", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        # One Coding, as the text of IUA has it, and a list of them, as its example.
        return [value] if isinstance(value, dict) else value


class _Bppc(_Said):
    patient_id: StrictStr = ""


class _Extensions(_Said):
    ihe_iua: _Iua = _Iua()
    ihe_bppc: _Bppc = _Bppc()


class _Claims(_Said):
    iss: StrictStr = Field(min_length=1)
    sub: StrictStr = Field(min_length=1)
    client_id: StrictStr = Field(min_length=1)
    aud: tuple[StrictStr, ...] = Field(min_length=1)
    jti: StrictStr = Field(min_length=1)
    iat: float
    exp: float
    nbf: float | None = None
    scope: StrictStr
    cnf: dict[str, Any] | None = None
    extensions: _Extensions = _Extensions()

    @field_validator("aud", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("iat", "exp", "nbf", mode="before")
    @classmethod
    def _a_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise ValueError("is no number")
        return value

    def window(self) -> Window:
        return Window(not_before=_moment(self.nbf or self.iat), not_on_or_after=_moment(self.exp))


def _moment(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise _invalid("a time of the token is no moment of the calendar") from None


def _invalid(detail: str, claimed: str = "") -> SecurityFault:
    return SecurityFault("InvalidSecurityToken", detail, claimed=claimed)


# --- its verification ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token that holds: its user is None where a client speaks for itself; `proof` is that of the key to
    which it is bound, whose use is still to be noted."""

    user: User | None
    scopes: frozenset[str]
    proof: KeyProof | None


class TokenVerifier:
    """Verifies access tokens under one service's settings.

    Raises
    ------
    SettingsError
        The keys of an issuer cannot be read.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self._keys = KeySets(settings.token.issuers, settings.tls, trust=settings.token.trust)
        self._voices = Voices(settings.assertion.speaks_for, settings.home_community_id)
        self._domain = settings.audience
        self._public_url = (settings.public_url or "").rstrip("/")
        self._skew = timedelta(seconds=settings.assertion.skew_seconds)
        self._longest = timedelta(seconds=settings.assertion.max_lifetime_seconds)
        self._bound = settings.token.bound

    async def verify(
        self, token: str, now: datetime, *, endpoint: str, node: Node, needed: NeededScope
    ) -> AccessToken:
        """What `token` says at `now` (aware), brought to `endpoint` by `node` for what is `needed`.

        Raises
        ------
        SecurityFault
            The first rule that is broken; `claimed` names the user it claims.
        """
        claims = await self._signed(token)
        claimed = f"<{claims.sub[:128]}@{claims.iss[:128]}>"
        try:
            audience = self._audience(claims, endpoint)
            self._in_time(claims, now)
            self._bound_to(claims, node)
            proof = self._possession(claims, token, now, endpoint)
            user = _user(claims, audience)
            self._voices.check(user)
            needed.check(claims.scope.split(), of_one_patient=bool(user.resource_ids))
        except SecurityFault as fault:
            fault.claimed = claimed
            raise
        # Without a user of its own a token is of a client, which is a node and no human (IUA 3.71.5).
        is_human = claims.sub != claims.client_id
        return AccessToken(user if is_human else None, frozenset(claims.scope.split()), proof)

    async def _signed(self, token: str) -> _Claims:
        octets = await signed_claims(token, self._keys, _TYPES)
        try:
            return _Claims.model_validate_json(octets)
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"])) or "the claims"
            raise _invalid(f"{place} of the token is absent or malformed") from None

    def _audience(self, claims: _Claims, endpoint: str) -> str:
        """The one audience of the token that is ours: this domain, or an address of this service at or above
        what was called."""
        return next(self._ours(claims.aud, endpoint), "") or self._refuse_audience()

    def _ours(self, audiences: Sequence[str], endpoint: str) -> Iterator[str]:
        own = self._public_url or "/".join(endpoint.split("/")[:3])
        for audience in audiences:
            place = audience.rstrip("/")
            within = f"{place}/".startswith(f"{own}/") and f"{endpoint.rstrip('/')}/".startswith(f"{place}/")
            if audience == self._domain or within:
                yield audience

    def _refuse_audience(self) -> str:
        raise _invalid("the audience is neither this domain nor this service")

    def _in_time(self, claims: _Claims, now: datetime) -> None:
        issued, window = _moment(claims.iat), claims.window()
        ends = window.not_on_or_after
        if ends is None or not issued < ends <= issued + self._longest:
            raise _invalid(f"the lifetime must be more than 0 and at most {self._longest}")
        if issued > now + self._skew or not window.contains(now, self._skew):
            raise _invalid("the token is not yet or no longer valid")

    def _bound_to(self, claims: _Claims, node: Node) -> None:
        """Compare the certificate to which a token is bound (RFC 8705 3.1) with the one of its bringer."""
        if claims.cnf is None:
            if self._bound:
                raise _invalid("the token is bound to no certificate and no key (XDSI_TOKEN__BOUND)")
        elif set(claims.cnf) == {"jkt"}:
            return
        elif set(claims.cnf) != {"x5t#S256"} or not node.fingerprint:
            raise _invalid("the token is bound to something that the node does not prove")
        elif claims.cnf["x5t#S256"] != thumbprint(node.fingerprint):
            raise _invalid("the token is bound to the certificate of another node")

    def _possession(self, claims: _Claims, token: str, now: datetime, endpoint: str) -> KeyProof | None:
        """What proves the key to which a token is bound (RFC 9449 6.1, 7.1); None for a token of no key."""
        jkt = (claims.cnf or {}).get("jkt")
        if not isinstance(token, SentToken):
            if jkt is not None:
                raise _invalid("the token is bound to a key; send it by DPoP, with a proof of possession")
            return None
        if jkt is None:
            raise _invalid("the token is bound to no key; send it by Bearer")
        proof = key_proof(
            token.proof, method=token.method, endpoint=endpoint, token=token, now=now, skew=self._skew
        )
        if proof.jkt != jkt:
            raise ProofFault("the token is bound to another key than that of the proof")
        return proof


def thumbprint(fingerprint: str) -> str:
    """The hexadecimal SHA-256 of a certificate as `x5t#S256` has it (RFC 8705 3.1)."""
    return urlsafe_b64encode(bytes.fromhex(fingerprint)).rstrip(b"=").decode()


def _user(claims: _Claims, audience: str) -> User:
    iua = claims.extensions.ihe_iua
    organization = iua.subject_organization_id
    return User(
        name_id=claims.sub,
        issuer=claims.iss,
        assertion_id=claims.jti,
        alias=audience,
        subject_id=iua.subject_name,
        organization=iua.subject_organization,
        organization_ids=(organization,) if organization else (),
        home_community_id=iua.home_community_id,
        roles=tuple(coding.value for coding in iua.subject_role),
        purposes=tuple(coding.value for coding in iua.purpose_of_use),
        resource_ids=tuple(dict.fromkeys(_patients(claims.extensions))),
    )


def _patients(extensions: _Extensions) -> Iterator[str]:
    # Published examples escape the ampersands of a CX as XML does.
    patients = extensions.ihe_bppc.patient_id, extensions.ihe_iua.person_id
    yield from filter(is_cx, (patient.replace("&amp;", "&") for patient in patients))
