"""The page of error codes, as it is printed into `docs/`: one row for each class of the two trees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from shared.errors import (
    Actor,
    CommunityError,
    QueryError,
    RemovalError,
    RetrieveError,
    SubmissionError,
    UnavailableError,
    XdsError,
)
from shared.faults import SoapFault
from xdsi.settings_page import WRITTEN

Kind = TypeVar("Kind")

_INTRODUCTION = """
What a sender reads, and what it should do. `codeContext` says in words what is wrong, where, and what would
be right; `location` names the object. Where two codes stand, registry and repository each have their own.
""".strip()

# Branch of the tree, its heading, and what whoever gets one of them does.
_BRANCHES: tuple[tuple[type[XdsError], str, str], ...] = (
    (
        SubmissionError,
        "A submission or an update is refused",
        "Nothing of it was stored, whatever else is said. Correct it, and send it under a new MessageID.",
    ),
    (
        RemovalError,
        "Metadata are not removed (ITI-62)",
        "Nothing was removed. Name all that has to go together, or leave it.",
    ),
    (
        QueryError,
        "A query is not answered (ITI-18, 38, 51)",
        "Correct the query; the same again is answered the same.",
    ),
    (
        RetrieveError,
        "A document or an instance is not delivered (ITI-43, 86, RAD-69)",
        "What else was asked for is delivered, and the status is PartialSuccess. Who is refused by consent "
        "reads what one reads who asks for something that does not exist.",
    ),
    (CommunityError, "A community is not reached (XCA)", "What the other communities answered is there."),
    (
        UnavailableError,
        "It cannot be done now",
        "Send the same message with the same MessageID again, after some seconds and then more seldom: it is "
        "carried out once, however often it comes.",
    ),
)


def errors_page() -> str:
    """Every code, what it means, and what a sender does about it."""
    lines = ["# Error codes", "", WRITTEN, "", *_INTRODUCTION.splitlines()]
    for branch, heading, remedy in _BRANCHES:
        lines += ["", f"## {heading}", "", remedy, "", "| code | means |", "|---|---|"]
        lines += [f"| {_codes(one)} | {_meaning(one)} |" for one in _family(branch)]
    lines += [
        "",
        "## Faults",
        "",
        "The message was not understood at all (SOAP 1.2), or its sender may not send it.",
    ]
    lines += ["", "| code | HTTP | means |", "|---|---|---|"]
    lines += [f"| `{one.code}` | {one.status} | {_fault(one)} |" for one in _family(SoapFault)]
    return "\n".join(lines) + "\n"


def _family(branch: type[Kind]) -> Iterator[type[Kind]]:
    """The classes below `branch` in its module, in the order of the code."""
    for one in branch.__subclasses__():
        if one.__module__ == branch.__module__:
            yield one
            yield from _family(one)


def _codes(error: type[XdsError]) -> str:
    return ", ".join(dict.fromkeys(f"`{error.code.format(actor=actor)}`" for actor in Actor))


def _meaning(one: type) -> str:
    """The first paragraph of the docstring, in the words of the wire."""
    text = " ".join((one.__doc__ or "").partition("\n\n")[0].split())
    return text.replace("`context`", "`codeContext`")


def _fault(one: type) -> str:
    """The same, without what is said to who reads the code."""
    return _meaning(one).partition("; `")[0].removesuffix(".") + "."
