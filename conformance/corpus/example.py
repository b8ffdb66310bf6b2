"""An example: bytes, and what a validator must say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeVar

Model = TypeVar("Model")


@dataclass(frozen=True, slots=True)
class Example:
    """Bytes of one kind of thing. `finds` is the id of the finding that they must produce; empty for a good
    one, which produces no error."""

    name: str
    kind: str
    octets: bytes
    finds: str = ""


def mutated(
    kind: str,
    base: str,
    model: Model,
    encode: Callable[[Model], bytes],
    mutations: Mapping[str, tuple[str, Callable[[Model], object]]],
) -> Iterator[Example]:
    """A good example and its mutations: for each name the finding that it must produce, and what is done to
    a copy of the model."""
    yield Example(base, kind, encode(deepcopy(model)))
    for name, (id, change) in mutations.items():
        changed = deepcopy(model)
        change(changed)
        yield Example(f"{base}: {name}", kind, encode(changed), id)
