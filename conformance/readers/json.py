"""JSON as nodes that know their FHIR path; what is not there reads as nothing, and never raises."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from conformance.readers.source import MOST_HELD, Source


class NotJson(Exception):
    """The bytes are no JSON object; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document, and the path to it."""

    value: Any
    path: str

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and name in self.value

    def child(self, name: str) -> Node:
        """A member; its value is None when it is absent."""
        value = self.value.get(name) if isinstance(self.value, dict) else None
        return Node(value, f"{self.path}.{name}")

    def children(self, name: str) -> tuple[Node, ...]:
        """The elements of a member; an object that stands alone is one of them."""
        only = self.child(name)
        if isinstance(only.value, list):
            return tuple(Node(value, f"{only.path}[{at}]") for at, value in enumerate(only.value))
        return () if only.value is None else (only,)

    def text(self, name: str) -> str:
        """A member as text, empty when it is absent or no text."""
        value = self.child(name).value
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> int | None:
        """A member that is a whole number."""
        value = self.child(name).value
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_json(source: Source, root: str) -> Node:
    """The document as a node.

    Raises
    ------
    NotJson
        It is no JSON, or too long to be held.
    """
    if len(source) > MOST_HELD:
        raise NotJson(f"document: longer than {MOST_HELD:,} bytes")
    try:
        return Node(json.loads(source.read(0, MOST_HELD).decode("utf-8-sig")), root)
    except UnicodeDecodeError as error:
        raise NotJson(f"byte {error.start}: no UTF-8") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError:
        raise NotJson("document: a number of too many digits") from None
    except RecursionError:
        raise NotJson("document: nested too deep") from None
