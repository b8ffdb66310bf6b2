"""A story in steps: each is a line with what came of it, and what was proved is a table at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass
class Story:
    """What was shown and what it proved; a step that does not hold ends the demo."""

    console: Console
    proved: list[tuple[str, str]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """One line: what is done, what came of it, and how long it took."""
        step = Step()
        began = time.perf_counter()
        with self.console.status(title) if self.console.is_terminal else _nothing():
            try:
                yield step
            except DoesNotHold as error:
                self._line(title, f"{error}", time.perf_counter() - began, mark="✗", style="red")
                raise
        self._line(title, step.outcome, time.perf_counter() - began, mark="✓", style="green")
        if step.proof:
            self.proved.append(step.proof)

    def _line(self, title: str, outcome: str, seconds: float, *, mark: str, style: str) -> None:
        line = Text.assemble((mark, style), f" {title:<53} ", (f"{outcome:<54} ", "dim"), f"{seconds:5.2f} s")
        self.console.print(line, soft_wrap=True)

    def table(self) -> None:
        """What was proved."""
        table = Table(
            title="What was proved", title_justify="left", show_header=False, box=None, pad_edge=False
        )
        table.add_column(style="bold")
        table.add_column()
        for claim, evidence in self.proved:
            table.add_row(claim, evidence)
        self.console.print()
        self.console.print(table)


@dataclass
class Step:
    """What a step came to; `proof` is a line of the table at the end."""

    outcome: str = ""
    proof: tuple[str, str] | None = None


class DoesNotHold(Exception):
    """A step did not do what it must; the text says what was seen."""


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def many(number: int, one: str, more: str = "") -> str:
    """A number of things, in words."""
    return f"{number} {one if number == 1 else more or one + 's'}"
