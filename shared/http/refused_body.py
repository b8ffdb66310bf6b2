"""What is wrong with a body that a model refuses, in words that repeat nothing of it.

A member may be called by anything, as a patient's name: those that the model knows are told, no other is, and
no value is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

_MOST: Final = 20


def reasons(error: ValidationError, kind: type[BaseModel]) -> str:
    """Where a value of `kind` is wrong, and why: `user_id: Field required; …`."""
    members = dict.fromkeys(_names(kind))
    texts = (_reason(detail, members) for detail in error.errors(include_input=False))
    return "; ".join(list(dict.fromkeys(texts))[:_MOST])


def _reason(detail: Any, members: dict[str, None]) -> str:
    where = ".".join(str(part) for part in detail["loc"] if isinstance(part, int) or part in members)
    if detail["type"] == "extra_forbidden":
        what = f"a member is not known; known are {', '.join(members)}"
    elif detail["type"] == "union_tag_invalid":
        what = "is of no kind that is known"
    else:
        what = detail["msg"]
    return f"{where or 'body'}: {what}"


def _names(kind: type[BaseModel]) -> Iterator[str]:
    """The names of all members, of nested models too."""
    for name, member in kind.model_fields.items():
        yield member.alias or name
        for inner in _models(member.annotation):
            yield from _names(inner)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
