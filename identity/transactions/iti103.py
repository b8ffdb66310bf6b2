"""Get Authorization Server Metadata [ITI-103] (RFC 8414; OpenID Connect Discovery 1.0), and the keys by which
tokens are verified (RFC 7517)."""

from __future__ import annotations

from typing import Any

from identity.transactions.iti71 import CLIENT, CODE, EXCHANGE
from identity.unit import Unit
from shared.rest.message import HttpRequest, json_response
from shared.rest.scheme import NodeAlone
from shared.rest.served import ServedRest
from shared.security.client_assertion import SIGNING_ALGORITHMS
from shared.security.possession import ALGORITHMS


async def decode(_: HttpRequest) -> None:
    """Nothing is asked."""


async def metadata(unit: Unit, _: None) -> dict[str, Any]:
    """What the service is and does."""
    settings = unit.parts.settings
    with_clients = {
        "authorization_endpoint": f"{settings.endpoint}/authorize",
        "authorization_response_iss_parameter_supported": True,
        "code_challenge_methods_supported": ["S256"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
        "claims_supported": ["iss", "sub", "aud", "iat", "exp", "auth_time", "nonce", "amr"],
        "prompt_values_supported": ["none", "login"],
    }
    return {
        "issuer": settings.endpoint,
        "token_endpoint": f"{settings.endpoint}/token",
        "introspection_endpoint": f"{settings.endpoint}/introspect",
        "introspection_endpoint_auth_methods_supported": ["Bearer", "tls_client_auth"],
        "jwks_uri": f"{settings.endpoint}/jwks",
        "grant_types_supported": [EXCHANGE, *((CODE, CLIENT) if settings.clients else ())],
        "response_types_supported": ["code"] if settings.clients else [],
        "scopes_supported": [*(("openid",) if settings.clients else ()), *settings.scopes],
        "token_endpoint_auth_methods_supported": [
            "tls_client_auth",
            "client_secret_basic",
            "private_key_jwt",
            "none",
        ],
        "token_endpoint_auth_signing_alg_values_supported": list(SIGNING_ALGORITHMS),
        "access_token_format": [
            "urn:ietf:params:oauth:token-type:jwt",
            "urn:ietf:params:oauth:token-type:saml2",
        ],
        "tls_client_certificate_bound_access_tokens": settings.token.bound,
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        **(with_clients if settings.clients else {}),
    }


async def keys(unit: Unit, _: None) -> dict[str, Any]:
    """The keys by which tokens are verified."""
    return unit.parts.keys.shown()


SERVED: tuple[ServedRest[Any, Any], ...] = (
    ServedRest(
        number="ITI-103",
        name="Get Authorization Server Metadata",
        routes=("GET /.well-known/oauth-authorization-server", "GET /.well-known/openid-configuration"),
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
