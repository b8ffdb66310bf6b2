"""Lists for people and for pipes: text in columns, ids whole.

An id that is folded or cut cannot be given to the next command. So a list is as wide as its lines need where
nothing has a width, such as a pipe; at a terminal that is narrower each id has a line of its own below the
text of its row.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import typer
from rich.cells import cell_len, chop_cells

_BETWEEN = "  "
_NARROWEST = 6


Cell = str | int | tuple[str, ...]


class Column(NamedTuple):
    """A column; of one that `is_id` every value stays whole. A cell of several ids is a tuple."""

    heading: str
    is_id: bool = False


def show(columns: Sequence[Column], rows: Iterable[Sequence[Cell]], *, headings: bool = True) -> None:
    """Print a list as wide as standard output is."""
    for line in lines(columns, rows, width=_width(), headings=headings):
        typer.echo(line)


def lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    width: int | None,
    headings: bool = True,
) -> Iterator[str]:
    """The lines of a list, at most `width` cells wide but for ids; columns that are empty in every row are
    left out. Without `headings` an id of a line of its own is named there alone."""
    cells = [tuple(map(_values, row)) for row in rows]
    if not cells:
        return
    filled = [at for at in range(len(columns)) if any(any(row[at]) for row in cells)]
    columns = [columns[at] for at in filled]
    cells = [tuple(row[at] for at in filled) for row in cells]
    above = [tuple(column.heading for column in columns)] if headings else []
    texts = [*above, *(tuple(map(" ".join, row)) for row in cells)]
    widths = _widths(texts)
    if width is None or _together(widths) <= width:
        yield from (_line(row, widths) for row in texts)
    else:
        yield from _narrow(columns, cells, width, headings=headings)


def _values(cell: Cell) -> tuple[str, ...]:
    return tuple(map(plain, cell)) if isinstance(cell, tuple) else (plain(cell),)


def plain(value: object) -> str:
    """Text for a terminal: control characters as their codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 study`, `2 studies`: a number with what it counts."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _narrow(
    columns: Sequence[Column], rows: Sequence[Sequence[tuple[str, ...]]], width: int, *, headings: bool
) -> Iterator[str]:
    text = [at for at, column in enumerate(columns) if not column.is_id]
    above = [tuple(columns[at].heading for at in text)] if headings and text else []
    texts = [tuple(" ".join(row[at]) for at in text) for row in rows]
    full_widths = _widths([*above, *texts])
    words = [
        max(cell_len(word) for row in (*above, *texts) for word in row[at].split(" "))
        for at in range(len(full_widths))
    ]
    widths = _fitted(_fitted(full_widths, words, width), [_NARROWEST] * len(full_widths), width)
    yield from (_line(row, widths) for row in above)
    for row, shown in zip(rows, texts, strict=True):
        folded = [list(_folded(one, limit)) for one, limit in zip(shown, widths, strict=True)]
        for number in range(max(map(len, folded), default=0)):
            yield _line([lines[number] if number < len(lines) else "" for lines in folded], widths)
        for column, values in zip(columns, row, strict=True):
            if column.is_id:
                yield from (f"{_BETWEEN}{column.heading} {value}" for value in values if value)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_BETWEEN) * (len(widths) - 1)


def _fitted(widths: list[int], least: list[int], width: int) -> list[int]:
    """The widths with the widest made narrower, none below its least, until all fit or none can be."""
    fitted = list(widths)
    while _together(fitted) > width:
        at = max(range(len(fitted)), key=lambda at: (fitted[at] > least[at], fitted[at]))
        if fitted[at] <= least[at]:
            break
        fitted[at] -= 1
    return fitted


def _folded(text: str, width: int) -> Iterator[str]:
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
            continue
        if line:
            yield line
        *whole, line = chop_cells(word, width) or [""]
        yield from whole
    yield line


def _line(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (width - cell_len(text)) for text, width in zip(texts, widths, strict=True))
    return _BETWEEN.join(padded).rstrip()
