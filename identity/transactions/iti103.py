"""Get Authorization Server Metadata [ITI-103] (RFC 8414), and the keys of access tokens (RFC 7517)."""

from __future__ import annotations

from typing import Any

from identity.transactions.iti71 import EXCHANGE
from identity.unit import Unit
from shared.rest.message import HttpRequest, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest


async def decode(_: HttpRequest) -> None:
    """Nothing is asked."""


async def metadata(unit: Unit, _: None) -> dict[str, Any]:
    """What the service is and does."""
    settings = unit.parts.settings
    return {
        "issuer": settings.endpoint,
        "token_endpoint": f"{settings.endpoint}/token",
        "introspection_endpoint": f"{settings.endpoint}/introspect",
        "introspection_endpoint_auth_methods_supported": ["tls_client_auth"],
        "jwks_uri": f"{settings.endpoint}/jwks",
        "grant_types_supported": [EXCHANGE],
        "response_types_supported": [],
        "scopes_supported": list(settings.scopes),
        "token_endpoint_auth_methods_supported": ["tls_client_auth"],
        "access_token_format": [
            "urn:ietf:params:oauth:token-type:jwt",
            "urn:ietf:params:oauth:token-type:saml2",
        ],
        "tls_client_certificate_bound_access_tokens": settings.token.bound,
    }


async def keys(unit: Unit, _: None) -> dict[str, Any]:
    """The keys by which access tokens are verified."""
    return unit.parts.keys.shown()


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        number="ITI-103",
        name="Get Authorization Server Metadata",
        routes=("GET /.well-known/oauth-authorization-server",),
        right=None,
        scheme=NodeAlone,
        decode=decode,
        handle=metadata,
        encode=json_response,
    ),
    ServedRest(
        name="Keys of access tokens",
        routes=("GET /jwks",),
        right=None,
        scheme=NodeAlone,
        decode=decode,
        handle=keys,
        encode=json_response,
    ),
)
