"""What a service tells of itself to clients that look for a token: the metadata of a protected resource
(RFC 9728), at `/.well-known/oauth-protected-resource`.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.http.address import called
from shared.security.possession import ALGORITHMS
from shared.settings import ServiceSettings

WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"


def resource_of(scope: MutableMapping[str, Any], public_url: str | None) -> str:
    """The identifier of the service that a request came to, which tokens name as their audience."""
    return public_url.rstrip("/") if public_url else called({**scope, "path": ""}, None)


def metadata_of(resource: str) -> str:
    """Where the metadata of `resource` stands: the path of its own goes behind the well-known one (3.1)."""
    parts = urlsplit(resource)
    return f"{parts.scheme}://{parts.netloc}{WELL_KNOWN}{parts.path}"


def metadata_route(settings: ServiceSettings, scopes: Sequence[str]) -> Route:
    """The route that tells it, of a service whose transactions need `scopes`."""

    async def tell(request: Request) -> Response:
        content = {
            "resource": resource_of(request.scope, settings.public_url),
            "authorization_servers": list(settings.token.issuers),
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": list(ALGORITHMS),
            "scopes_supported": list(scopes),
            "tls_client_certificate_bound_access_tokens": settings.token.bound,
        }
        return Response(json.dumps(content), media_type="application/json")

    path = WELL_KNOWN + urlsplit(settings.public_url or "").path.rstrip("/")
    return Route(path, tell, methods=["GET"])
