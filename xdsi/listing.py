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


class Column(NamedTuple):
    """A column; of one that `is_id` every value stays whole."""

    heading: str
    is_id: bool = False


def show(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, headings: bool = True) -> None:
    """Print a list as wide as standard output is."""
    for line in lines(columns, rows, width=_width(), headings=headings):
        typer.echo(line)


def lines(
    columns: Sequence[Column],
    rows: Iterable[Sequence[object]],
    *,
    width: int | None,
    headings: bool = True,
) -> Iterator[str]:
    """The lines of a list, at most `width` cells wide but for ids; columns that are empty in every row are
    left out. Without `headings` an id of a line of its own is named there alone."""
    texts = [tuple(map(plain, row)) for row in rows]
    if not texts:
        return
    kept = [at for at in range(len(columns)) if any(row[at] for row in texts)]
    columns = [columns[at] for at in kept]
    texts = [tuple(row[at] for at in kept) for row in texts]
    above = [tuple(column.heading for column in columns)] if headings else []
    widths = _widths([*above, *texts])
    if width is None or _together(widths) <= width:
        yield from (_line(row, widths) for row in (*above, *texts))
    else:
        yield from _narrow(columns, texts, width, headings=headings)


def plain(value: object) -> str:
    """Text for a terminal: control characters as their codes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))


def counted(number: int, noun: str, nouns: str = "") -> str:
    """`1 study`, `2 studies`: a number with what it counts."""
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _narrow(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, headings: bool
) -> Iterator[str]:
    text = [at for at, column in enumerate(columns) if not column.is_id]
    above = [tuple(columns[at].heading for at in text)] if headings and text else []
    widths = _fitted(_widths([*above, *(tuple(row[at] for at in text) for row in rows)]), width)
    yield from (_line(row, widths) for row in above)
    for row in rows:
        folded = [list(_folded(row[at], limit)) for at, limit in zip(text, widths, strict=True)]
        for number in range(max(map(len, folded), default=0)):
            yield _line([lines[number] if number < len(lines) else "" for lines in folded], widths)
        for column, value in zip(columns, row, strict=True):
            if column.is_id and value:
                yield f"{_BETWEEN}{column.heading} {value}"


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + len(_BETWEEN) * (len(widths) - 1)


def _fitted(widths: list[int], width: int) -> list[int]:
    """The widths with the widest made narrower until all fit."""
    fitted = list(widths)
    while _together(fitted) > width and max(fitted) > _NARROWEST:
        fitted[fitted.index(max(fitted))] -= 1
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
