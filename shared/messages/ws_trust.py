"""RequestSecurityToken, Issue: message semantics (OASIS WS-Trust 1.3, 3 and 4; WSS SAML Token Profile 1.1).

What is asked for stands in `wst:Claims` as attributes of SAML, as XUA names them (ITI TF-2 3.40.4.1.2). For
whom it is asked proves the Security header, by an assertion, or `wst:OnBehalfOf`, by a JWT in a
BinarySecurityToken. What is not understood is refused: a token of less, or of more, than was asked for is
none.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from shared.errors import XdsError
from shared.faults import WSA, WSSE, WSU, SecurityFault, SenderFault
from shared.security.issuer import encode_claims
from shared.security.saml import Claims, read_claims
from shared.soap.mtom import Attachments, MtomBody
from shared.soap.transaction import SoapTransaction
from shared.xml import NS, Element, elements, escape, escape_attribute, text

WST: Final = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
WSP: Final = "http://schemas.xmlsoap.org/ws/2004/09/policy"
ISSUE: Final = f"{WST}/Issue"
SAML2: Final = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV2.0"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_DIALECT: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
_BASE64: Final = (
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary"
)
_NAMES: Final = {"wst": WST, "wsa": WSA}
_BINARY: Final = f"{{{WSSE}}}BinarySecurityToken"
#: What a request may hold; AppliesTo is of either version of WS-Policy.
_UNDERSTOOD: Final = {
    f"{{{WST}}}RequestType",
    f"{{{WST}}}TokenType",
    f"{{{WST}}}KeyType",
    f"{{{WST}}}Claims",
    f"{{{WST}}}OnBehalfOf",
    f"{{{WSP}}}AppliesTo",
    "{http://www.w3.org/ns/ws-policy}AppliesTo",
}


class TrustFault(SenderFault):
    """No token is issued; `name` is a code of WS-Trust 11, for example FailedAuthentication."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason, subcode=(WST, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityTokenRequest:
    """What a token shall say, and for whom: its audience, and the JWT of its user, both or none."""

    claims: Claims
    applies_to: str = ""
    on_behalf_of: str = ""
    context: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityTokenResponse:
    """The assertion, an XML element, valid from `begins` until `ends`; or `errors` in its place."""

    assertion: bytes = b""
    applies_to: str = ""
    begins: datetime | None = None
    ends: datetime | None = None
    context: str = ""
    errors: tuple[XdsError, ...] = ()


# --- the request ----------------------------------------------------------------------------------------


def decode_request(body: Element, _: Attachments) -> SecurityTokenRequest:
    """Decode `wst:RequestSecurityToken`; raises `TrustFault`."""
    parts = list(elements(body))
    for part in parts:
        if part.tag not in _UNDERSTOOD:
            raise TrustFault(
                "InvalidRequest",
                "an element is not understood here; understood are "
                "RequestType, TokenType, KeyType, Claims, OnBehalfOf and AppliesTo",
            )
    if [text(one) for one in body.iterfind("wst:RequestType", _NAMES)] != [ISSUE]:
        raise TrustFault("InvalidRequest", f"RequestType must be {ISSUE}")
    if [text(one) for one in body.iterfind("wst:TokenType", _NAMES)] not in ([], [SAML2]):
        raise TrustFault("RequestFailed", f"TokenType must be {SAML2}")
    if [text(one) for one in body.iterfind("wst:KeyType", _NAMES)] not in ([], [f"{WST}/Bearer"]):
        raise TrustFault("RequestFailed", f"KeyType must be {WST}/Bearer")
    return SecurityTokenRequest(
        claims=_claims(body),
        applies_to=_address(parts),
        on_behalf_of=_user_token(body),
        context=body.get("Context", ""),
    )


def _claims(body: Element) -> Claims:
    try:
        return read_claims(
            each for claims in body.iterfind("wst:Claims", _NAMES) for each in elements(claims)
        )
    except SecurityFault as fault:
        raise TrustFault("InvalidRequest", f"Claims: {fault.detail}") from None


def _address(parts: Sequence[Element]) -> str:
    addresses = [
        text(address)
        for part in parts
        if etree.QName(part).localname == "AppliesTo"
        for address in part.iterfind("wsa:EndpointReference/wsa:Address", _NAMES)
    ]
    if len(addresses) > 1:
        raise TrustFault("InvalidRequest", "AppliesTo names more than one address")
    return "".join(addresses)


def _user_token(body: Element) -> str:
    tokens = [each for one in body.iterfind("wst:OnBehalfOf", _NAMES) for each in elements(one)]
    if not tokens:
        return ""
    if [(each.tag, each.get("ValueType")) for each in tokens] != [(_BINARY, JWT)]:
        raise TrustFault("InvalidRequest", f"OnBehalfOf holds one BinarySecurityToken of the ValueType {JWT}")
    try:
        return b64decode(text(tokens[0]), validate=True).decode("ascii")
    except ValueError:
        raise TrustFault("InvalidRequest", "the BinarySecurityToken is no JWT in base64") from None


def encode_request(request: SecurityTokenRequest) -> MtomBody:
    """Encode `wst:RequestSecurityToken`."""
    token = b64encode(request.on_behalf_of.encode()).decode()
    user = (
        f'<wst:OnBehalfOf><wsse:BinarySecurityToken xmlns:wsse="{WSSE}" ValueType="{JWT}"'
        f' EncodingType="{_BASE64}">{token}</wsse:BinarySecurityToken></wst:OnBehalfOf>'
    )
    claims = (
        f'<wst:Claims Dialect="{_DIALECT}" xmlns:saml="{NS["saml"]}" xmlns:xsi="{_XSI}">'
        f"{encode_claims(request.claims)}</wst:Claims>"
    )
    return MtomBody(
        "".join(
            (
                f'<wst:RequestSecurityToken xmlns:wst="{WST}"{_context(request.context)}>',
                f"<wst:TokenType>{SAML2}</wst:TokenType><wst:RequestType>{ISSUE}</wst:RequestType>",
                _applies_to(request.applies_to),
                user if token else "",
                claims,
                "</wst:RequestSecurityToken>",
            )
        ).encode()
    )


def _context(context: str) -> str:
    return f' Context="{escape_attribute(context)}"' if context else ""


def _applies_to(address: str) -> str:
    return (
        f'<wsp:AppliesTo xmlns:wsp="{WSP}"><wsa:EndpointReference xmlns:wsa="{WSA}">'
        f"<wsa:Address>{escape(address)}</wsa:Address></wsa:EndpointReference></wsp:AppliesTo>"
        if address
        else ""
    )


# --- the response ---------------------------------------------------------------------------------------


def encode_response(response: SecurityTokenResponse) -> MtomBody:
    """Encode `wst:RequestSecurityTokenResponseCollection`, with the octets that were signed."""
    begin = (
        f'<wst:RequestSecurityTokenResponseCollection xmlns:wst="{WST}">'
        f"<wst:RequestSecurityTokenResponse{_context(response.context)}>"
    )
    end = "</wst:RequestSecurityTokenResponse></wst:RequestSecurityTokenResponseCollection>"
    inside = _status(response.errors) if response.errors else _issued(response)
    return MtomBody(b"".join((begin.encode(), *inside, end.encode())))


def _issued(response: SecurityTokenResponse) -> tuple[bytes, ...]:
    return (
        f"<wst:TokenType>{SAML2}</wst:TokenType>{_applies_to(response.applies_to)}".encode(),
        b"<wst:RequestedSecurityToken>",
        response.assertion,
        b"</wst:RequestedSecurityToken>",
        _lifetime(response.begins, response.ends).encode(),
        f"<wst:KeyType>{WST}/Bearer</wst:KeyType>".encode(),
    )


def _lifetime(begins: datetime | None, ends: datetime | None) -> str:
    if begins is None or ends is None:
        return ""
    created, expires = (moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (begins, ends))
    return (
        f'<wst:Lifetime xmlns:wsu="{WSU}"><wsu:Created>{created}</wsu:Created>'
        f"<wsu:Expires>{expires}</wsu:Expires></wst:Lifetime>"
    )


def _status(errors: Sequence[XdsError]) -> tuple[bytes, ...]:
    reason = escape("; ".join(error.context for error in errors))
    code = f"<wst:Code>{WST}/status/invalid</wst:Code>"
    return (f"<wst:Status>{code}<wst:Reason>{reason}</wst:Reason></wst:Status>".encode(),)


def decode_response(body: Element, _: Attachments) -> SecurityTokenResponse:
    """Decode `wst:RequestSecurityTokenResponseCollection` of one response; raises `SenderFault`."""
    tokens = [
        each
        for one in body.iterfind("wst:RequestSecurityTokenResponse/wst:RequestedSecurityToken", _NAMES)
        for each in elements(one)
    ]
    if len(tokens) != 1:
        raise SenderFault("the response holds no token, or several")
    return SecurityTokenResponse(assertion=etree.tostring(tokens[0], with_tail=False))


def failure(errors: Sequence[XdsError]) -> SecurityTokenResponse:
    """The response that carries `errors` alone."""
    return SecurityTokenResponse(errors=tuple(errors))


ISSUE_TOKEN: SoapTransaction[SecurityTokenRequest, SecurityTokenResponse] = SoapTransaction(
    number="RST-Issue",
    name="Issue Security Token",
    action=f"{WST}/RST/Issue",
    response_action=f"{WST}/RSTRC/IssueFinal",
    body_root=f"{{{WST}}}RequestSecurityToken",
    encode_request=encode_request,
    decode_request=decode_request,
    encode_response=encode_response,
    decode_response=decode_response,
    failure=failure,
)
