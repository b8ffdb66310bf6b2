"""The description of what is served over REST (OpenAPI 3.1), made from the very values that are served."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from shared.http.problem import CONTENT_TYPE
from shared.rest.message import JSON, JsonBody
from shared.rest.served import ServedRest
from shared.security.speaker import Speaker

_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_SCHEMAS: Final = "#/components/schemas/{model}"


def openapi(title: str, served: Sequence[ServedRest[Any, Any]]) -> dict[str, Any]:
    """The description of one service."""
    schemas: dict[str, Any] = {"Problem": _PROBLEM}
    paths: dict[str, dict[str, Any]] = {}
    for one in served:
        for route in one.routes:
            method, _, path = route.partition(" ")
            operation = {**_operation(one, path), **_body(one, schemas)}
            paths.setdefault(_PARAMETER.sub(r"{\1}", path), {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "node": {"type": "mutualTLS", "description": "the certificate of the node (ITI-19)"},
                "user": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "SAML 2.0 assertion, base64url without padding (ITI-72)",
                },
            },
        },
    }


def _operation(served: ServedRest[Any, Any], path: str) -> dict[str, Any]:
    user = served.speaker is Speaker.USER
    return {
        "summary": f"{served.name} [{served.number}]" if served.number else served.name,
        "description": inspect.cleandoc(served.handle.__doc__ or ""),
        "x-right": served.right.value,
        "security": [{"node": [], "user": []}] if user else [{"node": []}, {"node": [], "user": []}],
        "parameters": list(_parameters(path)),
        "responses": {
            "2XX": {"description": "What was asked for."},
            "default": {
                "description": "What is wrong, and what would be right (RFC 9457).",
                "content": {CONTENT_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}},
            },
        },
    }


def _parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _body(served: ServedRest[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(served.decode, JsonBody):
        return {}
    kind = served.decode.kind
    schema = kind.model_json_schema(ref_template=_SCHEMAS)
    schemas.update(schema.pop("$defs", {}))
    schemas[kind.__name__] = schema
    return {"requestBody": {"content": {JSON: {"schema": {"$ref": _SCHEMAS.format(model=kind.__name__)}}}}}


_PROBLEM: Final = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what is wrong, and what would be right"},
    },
}
