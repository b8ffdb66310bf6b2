"""What requests over FHIR hold, or the problem that says why it cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from audit_repository.domain.parameters import Asked, WrongParameter, asked
from shared.audit.structure import NoResource, read_resource
from shared.http.problem import BadRequest
from shared.pages.handles import Handles, UnknownHandle
from shared.rest.fhir import Issue


def refused(code: str, text: str) -> BadRequest:
    """A request that cannot be read, by an IssueType and in words."""
    return BadRequest(text, issues=(Issue(code=code, text=text),))


def resource_of_body(octets: bytes) -> dict[str, Any]:
    """The resource of a body, whichever it is; raises `BadRequest`."""
    try:
        return read_resource(octets)
    except NoResource as error:
        raise refused("structure", f"the body is {error}") from None


def search_of(parameters: Iterable[tuple[str, str]], *, strict: bool = False) -> Asked:
    """What parameters ask for; raises `BadRequest`."""
    try:
        return asked(parameters, strict=strict)
    except WrongParameter as error:
        raise refused(error.code, str(error)) from None


def continuation(handles: Handles, kind: Any, holder: str, cursor: str) -> tuple[str, ...]:
    """What was sealed into the link to a next page; raises `BadRequest`."""
    try:
        return handles.open(kind, holder, cursor)
    except UnknownHandle:
        raise refused("not-found", "this page is not there any more; search again") from None
