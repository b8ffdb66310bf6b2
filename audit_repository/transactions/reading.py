"""What requests over FHIR hold, or the problem that says why it cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from audit_repository.domain.parameters import Asked, WrongParameter, asked
from shared.audit.resource_xml import BundleEntry, is_audit_event, read_bundle, read_xml
from shared.audit.structure import NoResource, read_resource
from shared.http.problem import BadRequest
from shared.pages.handles import Handles, UnknownHandle
from shared.rest.fhir import Issue


def refused(code: str, text: str) -> BadRequest:
    """A request that cannot be read, by an IssueType and in words."""
    return BadRequest(text, issues=(Issue(code=code, text=text),))


def resource_of_body(octets: bytes, *, is_xml: bool) -> dict[str, Any]:
    """The resource of a body, whichever it is; raises `BadRequest`."""
    try:
        if not is_xml:
            return read_resource(octets)
        resource = read_xml(octets)
    except NoResource as error:
        raise refused("structure", f"the body is {error}") from None
    if resource["resourceType"] == "AuditEvent" and not is_audit_event(octets):
        raise refused(
            "structure", "the body is not in UTF-8, or begins with something else than its resource"
        )
    return resource


def entries_of_body(octets: bytes, *, is_xml: bool) -> Sequence[BundleEntry] | None:
    """The entries of a batch, or None where the body is another resource; raises `BadRequest`."""
    try:
        if is_xml:
            kind, entries = read_bundle(octets)
            return entries if kind == "batch" else None
        bundle = read_resource(octets)
    except NoResource as error:
        raise refused("structure", f"the body is {error}") from None
    listed = bundle.get("entry", [])
    if (bundle.get("resourceType"), bundle.get("type")) != ("Bundle", "batch") or not isinstance(
        listed, list
    ):
        return None
    return tuple(map(_entry, listed))


def _entry(entry: Any) -> BundleEntry:
    resource = entry.get("resource") if isinstance(entry, Mapping) else None
    request = entry.get("request", {}) if isinstance(entry, Mapping) else {}
    if not isinstance(resource, Mapping) or not isinstance(request, Mapping):
        return BundleEntry(resource=None)
    octets = json.dumps(resource, ensure_ascii=False).encode()
    return BundleEntry(resource=resource, octets=octets, request=request)


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
