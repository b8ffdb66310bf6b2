"""References that differ by their ids alone, hundreds of them in one message, as one element of its tree.

A retrieval of a study names each instance in the request and in the answer, and all that differs between
two of them is an id. `parse_folded` joins such elements before a tree is made: of what stands between two ids
only a mark is left, which no sender of a message can know. Whoever reads references takes the ids apart at
the marks. Well-formed is what was well-formed before, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple
from uuid import uuid4

from lxml import etree

from shared.xml import Element, XmlError, parse

JOINT = uuid4().hex
"""Between two references that are folded into one."""
AND = uuid4().hex
"""Between the DocumentUniqueIds and the Content-IDs of those that are folded."""

#: Fewer are not worth it.
_MANY = 16
#: In one message so many runs are looked for.
_RUNS = 200
#: A longer message is read as it is: whoever looks through it lets nobody else work.
MOST_BYTES = 1024**2

_JOINT, _AND = JOINT.encode(), AND.encode()
_ATTRIBUTES = rb"(?:\s[^<>]*[^<>/])?"
_PLACE = (
    rb"(?:<(?P=of)HomeCommunityId>[^<>&]*</(?P=of)HomeCommunityId>\s*)?"
    rb"<(?P=of)RepositoryUniqueId>[^<>&]*</(?P=of)RepositoryUniqueId>\s*"
)


def _opens(element: bytes) -> bytes:
    prefix = rb"(?:[A-Za-z_][A-Za-z0-9_.-]*:)?"
    return (
        rb"<(?P<as>" + prefix + rb")" + element + _ATTRIBUTES + rb">\s*(?=<(?P<of>" + prefix + rb"))" + _PLACE
    )


def _closes(element: bytes) -> bytes:
    return rb"</(?P=as)" + element + rb">\s*)(?=<(?P=as)" + element + rb"[\s>])"


_REQUEST = re.compile(
    rb"(?P<head>" + _opens(rb"DocumentRequest") + rb"<(?P=of)DocumentUniqueId>)[^<]*"
    rb"(?P<tail></(?P=of)DocumentUniqueId>\s*" + _closes(rb"DocumentRequest")
)
_RESPONSE = re.compile(
    rb"(?P<head>" + _opens(rb"DocumentResponse") + rb"<(?P=of)DocumentUniqueId>)[^<]*"
    rb"(?P<middle></(?P=of)DocumentUniqueId>\s*<(?P=of)mimeType>[^<>&]*</(?P=of)mimeType>\s*"
    rb"<(?P=of)Document"
    + _ATTRIBUTES
    + rb"><(?P<xop>[A-Za-z_][A-Za-z0-9_.-]*:)Include(?:\s[^<>]*)?\shref=(?P<quote>[\"'])cid:)"
    rb"[^<\"']*(?P<tail>(?P=quote)(?:\s[^<>]*)?(?:/>|></(?P=xop)Include>)</(?P=of)Document>\s*"
    + _closes(rb"DocumentResponse")
)
_MARKUP = (b"<", b'"', b"'")
_STRING = etree.XPath("string()")


def parse_folded(octets: bytes) -> Element:
    """Parse a message with its references folded; raises as `shared.xml.parse` does."""
    folded = with_references_folded(octets)
    if folded is not octets:
        try:
            return parse(folded)
        except XmlError:
            # The positions that are told are those of the message.
            pass
    return parse(octets)


def folded_references(href: str) -> tuple[list[str], list[str]]:
    """The DocumentUniqueIds and the Content-IDs, as they stand in the message, of those that are folded into
    the reference with this `href`."""
    _, is_folded, references = href.partition(JOINT)
    if not is_folded:
        return [], []
    unique_ids, _, content_ids = references.partition(AND)
    return unique_ids.split(JOINT), content_ids.split(JOINT)


def own_reference(href: str) -> str:
    """`href` without what is folded into it."""
    return href.partition(JOINT)[0]


def number_folded(element: Element) -> int:
    """How many references are in `element` beyond those that have an element of their own."""
    return str(_STRING(element)).count(JOINT)


def with_references_folded(octets: bytes) -> bytes:
    """A message with its references folded; itself, the same object, when there are none to fold."""
    first_named = octets.find(b"DocumentRe")
    if first_named < 0 or len(octets) > MOST_BYTES or not _is_plain(octets):
        return octets
    if octets.startswith(b"DocumentReq", first_named):
        return _with_runs_folded(octets, _REQUEST, _requests)
    return _with_runs_folded(octets, _RESPONSE, _responses)


def _is_plain(octets: bytes) -> bool:
    """Whether what looks like a tag is one: no comment, CDATA section, declaration or instruction is here,
    and the encoding is one in which ASCII is ASCII."""
    # Most messages have none of these signs at all, which is faster to see.
    return (
        not (b"!" in octets and b"<!" in octets)
        and b"\0" not in octets
        and not (octets.find(b"?", octets.find(b">")) >= 0 and octets.find(b"<?", 4) >= 0)
    )


class _Run(NamedTuple):
    """References in a row: how many, their ids as those of one, and where the last id ends."""

    number: int
    folded: bytes
    end: int


def _with_runs_folded(
    octets: bytes, form: re.Pattern[bytes], run_of: Callable[[bytes, re.Match[bytes]], _Run]
) -> bytes:
    """The message with each run of this form folded; itself when there is none."""
    pieces: list[bytes] = []
    position = done = 0
    for _ in range(_RUNS):
        first = form.search(octets, position)
        if first is None:
            break
        run = run_of(octets, first)
        position = run.end
        if run.number > _MANY:
            pieces += (octets[done : first.end("head")], run.folded)
            done = position
    return b"".join((*pieces, octets[done:])) if pieces else octets


def _requests(octets: bytes, first: re.Match[bytes]) -> _Run:
    between = first["tail"] + first["head"]
    end = first.start("tail")
    ids = [octets[first.end("head") : end]]
    while octets.startswith(between, end):
        start = end + len(between)
        next_end = octets.find(b"<", start)
        if next_end < 0:
            break
        ids.append(octets[start:next_end])
        end = next_end
    return _Run(len(ids), _JOINT.join(ids), end)


def _responses(octets: bytes, first: re.Match[bytes]) -> _Run:
    middle, between = first["middle"], first["tail"] + first["head"]
    quote = first["quote"]
    end = first.start("tail")
    unique_ids: list[bytes] = []
    content_ids: list[bytes] = []
    while octets.startswith(between, end):
        start = end + len(between)
        id_ends = octets.find(b"<", start)
        content_id = id_ends + len(middle)
        next_end = octets.find(quote, content_id)
        if next_end < 0 or not octets.startswith(middle, id_ends):
            break
        unique_ids.append(octets[start:id_ends])
        content_ids.append(octets[content_id:next_end])
        end = next_end
    if (sound := _without_markup(unique_ids, content_ids)) < len(unique_ids):
        del unique_ids[sound:], content_ids[sound:]
        ids = sum(map(len, unique_ids + content_ids))
        end = first.start("tail") + ids + sound * (len(between) + len(middle))
    own = octets[first.end("head") : first.start("tail")]
    folded = own + _JOINT + _JOINT.join(unique_ids) + _AND + _JOINT.join(content_ids)
    return _Run(1 + len(unique_ids), folded, end)


def _without_markup(unique_ids: list[bytes], content_ids: list[bytes]) -> int:
    """How many references, from the first on, hold nothing that ends an attribute or is no text."""
    # Mostly all of them: who looks at each for itself takes longer than all the rest.
    if not _has_markup(b"".join(unique_ids + content_ids)):
        return len(unique_ids)
    pairs = enumerate(zip(unique_ids, content_ids, strict=True))
    return next(number for number, pair in pairs if _has_markup(b"".join(pair)))


def _has_markup(octets: bytes) -> bool:
    return any(sign in octets for sign in _MARKUP)
