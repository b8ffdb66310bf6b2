"""One document uniqueId of a registry as a model: what may be done with it, and what must be answered.

The content that a uniqueId names is bound by the first registration, for good. Entries come by ITI-42, leave
by ITI-62, and are Approved or Deprecated: by RPLC, by ITI-57.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.support.linearizability import Model, Operation

NON_IDENTICAL_HASH = "XDSNonIdenticalHash"
DEPRECATED_DOCUMENT = "XDSRegistryDeprecatedDocumentError"
UNRESOLVED = "UnresolvedReferenceException"
REFERENCED = "ReferencesExistException"
WRONG_UPDATE = "XDSMetadataUpdateError"


# --- what is done -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Register:
    """Register an entry whose document has `content` (its hash), as the replacement of another or of none."""

    entry: str
    content: str
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class SetApproved:
    """Make an entry Approved that is Deprecated, or the other way round."""

    entry: str
    approved: bool


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove an entry with its submission set and its associations."""

    entry: str


@dataclass(frozen=True, slots=True)
class Get:
    """All entries (GetDocuments)."""


@dataclass(frozen=True, slots=True)
class FindApproved:
    """The Approved ones (FindDocuments)."""


# --- what is told -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """Success."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Failure, and one of its reasons.

    A registry looks for reasons one after the other, so that two of them need not hold at the same moment;
    each is noted by itself.
    """

    code: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry in an answer."""

    entry: str
    content: str
    approved: bool


@dataclass(frozen=True, slots=True)
class Saw:
    """The answer of a query."""

    entries: frozenset[Shown]


# --- the model ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """One entry that is registered."""

    entry: str
    replaces: str = ""
    approved: bool = True


@dataclass(frozen=True, slots=True)
class Document:
    """What a registry holds of one uniqueId; `content` is empty until it is bound."""

    content: str = ""
    entries: frozenset[Registered] = frozenset()

    def find(self, entry: str) -> Registered | None:
        """The entry, when it is registered."""
        return next((each for each in self.entries if each.entry == entry), None)

    def shown(self, *, deprecated: bool) -> Saw:
        """What a query must show."""
        return Saw(
            frozenset(
                Shown(each.entry, self.content, each.approved)
                for each in self.entries
                if each.approved or deprecated
            )
        )


def step(state: Document, operation: Operation) -> Document | None:
    """The state after an operation, or None when its outcome cannot be had in `state`."""
    what, outcome = operation.what, operation.outcome
    if isinstance(what, Get | FindApproved):
        right = outcome == state.shown(deprecated=isinstance(what, Get))
        return state if right or isinstance(outcome, Unknown) else None
    after, codes = _carried_out(state, what)
    match outcome:
        case Unknown():
            return after
        case Done():
            return None if codes else after
        case Refused():
            return state if outcome.code in codes else None
    raise TypeError(outcome)


def _carried_out(state: Document, what: Register | SetApproved | Remove) -> tuple[Document, frozenset[str]]:
    """The state afterwards, and the codes of the refusal; when there are any, the state is as before."""
    match what:
        case Register():
            codes, after = frozenset(_wrong_with(state, what)), _registered(state, what)
        case SetApproved():
            codes, after = _set_approved(state, what)
        case Remove():
            codes, after = _removed(state, what)
    return (state if codes else after), codes


def _wrong_with(state: Document, what: Register) -> Iterable[str]:
    if state.content and state.content != what.content:
        yield NON_IDENTICAL_HASH
    if what.replaces:
        old = state.find(what.replaces)
        if old is None:
            yield UNRESOLVED
        elif not old.approved:
            yield DEPRECATED_DOCUMENT


def _registered(state: Document, what: Register) -> Document:
    entries = {
        replace(each, approved=each.approved and each.entry != what.replaces) for each in state.entries
    }
    return Document(what.content, frozenset({*entries, Registered(what.entry, what.replaces)}))


def _set_approved(state: Document, what: SetApproved) -> tuple[frozenset[str], Document]:
    found = state.find(what.entry)
    if found is None:
        return frozenset({UNRESOLVED}), state
    if found.approved is what.approved:
        return frozenset({WRONG_UPDATE}), state
    changed = replace(found, approved=what.approved)
    return frozenset(), replace(state, entries=state.entries - {found} | {changed})


def _removed(state: Document, what: Remove) -> tuple[frozenset[str], Document]:
    found = state.find(what.entry)
    if found is None:
        return frozenset({UNRESOLVED}), state
    if any(each.replaces == what.entry for each in state.entries):
        return frozenset({REFERENCED}), state
    return frozenset(), replace(state, entries=state.entries - {found})


DOCUMENT = Model(Document(), step)
