"""The description of what is served over REST (OpenAPI 3.1), made from the very values that are served."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from shared.rest.error_form import ProblemDetails
from shared.rest.message import DescribedBody
from shared.rest.served import ServedRest
from shared.security.speaker import Speaker

_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_SCHEMAS: Final = "#/components/schemas/{model}"


def openapi(title: str, served: Sequence[ServedRest[Any, Any]]) -> dict[str, Any]:
    """The description of one service."""
    schemas: dict[str, Any] = {"Problem": ProblemDetails.schema}
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
                **{one.scheme.name: one.scheme.description for one in served if one.scheme.description},
            },
        },
    }


def _operation(served: ServedRest[Any, Any], path: str) -> dict[str, Any]:
    return {
        "summary": f"{served.name} [{served.number}]" if served.number else served.name,
        "description": inspect.cleandoc(served.handle.__doc__ or ""),
        **({} if served.right is None else {"x-right": served.right.value}),
        "security": list(_security(served)),
        "parameters": list(_parameters(path)),
        "responses": {
            "2XX": {"description": "What was asked for."},
            "default": {
                "description": "What is wrong, and what would be right"
                + (" (RFC 9457)." if served.error_form is ProblemDetails else "."),
                "content": {served.error_form.media_type: {"schema": _error_schema(served)}},
            },
        },
    }


def _security(served: ServedRest[Any, Any]) -> Iterator[dict[str, list[str]]]:
    """What a request has to bring, each by itself enough."""
    if served.speaker is Speaker.NODE:
        yield {"node": []}
    if served.scheme.description:
        yield {"node": [], served.scheme.name: []}


def _error_schema(served: ServedRest[Any, Any]) -> Mapping[str, Any]:
    if served.error_form is ProblemDetails:
        return {"$ref": _SCHEMAS.format(model="Problem")}
    return served.error_form.schema


def _parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in _PARAMETER.findall(path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _body(served: ServedRest[Any, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    body = served.decode
    if not isinstance(body, DescribedBody):
        return {}
    schema = body.kind.model_json_schema(ref_template=_SCHEMAS)
    schemas.update(schema.pop("$defs", {}))
    schemas[body.kind.__name__] = schema
    reference = {"$ref": _SCHEMAS.format(model=body.kind.__name__)}
    return {"requestBody": {"content": {body.media_type: {"schema": reference}}}}
