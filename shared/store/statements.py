"""Statements are written once, in SQLAlchemy Core, and compiled once for the dialect in use.

A statement is a module-level object with `bindparam`s; its text goes to the driver (`sqlite3`, `asyncpg`)
with plain arguments, and rows come back as the driver gives them: text, integers, bytes, None. Columns
therefore use `Text`, `Integer`, `BigInteger` and `LargeBinary`. Where the two dialects differ, the constructs
here hide it: `in_list`, `like_any`, `lines`, `insert_or_ignore`. Rows for several tables go in by
`insert_row` on SQLite, by `insert_arrays` and `insertion_when` on PostgreSQL.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Integer, TableClause, Text, bindparam, insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import Table
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.sqltypes import ARRAY, NULLTYPE
from sqlalchemy.types import TypeEngine

SQLITE = "sqlite"
POSTGRESQL = "postgresql"

#: Statements kept compiled; a service has about a hundred, and more means that one is made anew at each call.
MAX_COMPILED = 2_000


def dialect_of(name: str) -> Dialect:
    """The dialect by which statements are compiled for the driver in use."""
    if name == SQLITE:
        return sqlite.dialect(paramstyle="qmark")
    dialect: Dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    return dialect


def by_name(columns: Sequence[ColumnElement[Any]], row: Sequence[Any]) -> dict[str, Any]:
    """The values of a row by the names of the columns that were selected."""
    return dict(zip((str(column.key) for column in columns), row, strict=True))


# --- constructs ---------------------------------------------------------------------------------------


class ListParameter(BindParameter[Any]):
    """A parameter that is a list: one JSON text on SQLite, an array on PostgreSQL."""

    inherit_cache = False


def _list_parameter(name: str, type_: TypeEngine[Any]) -> ListParameter:
    return ListParameter(name, type_=ARRAY(type_), required=True)


class InList(ColumnElement[bool]):
    """`column` equals a member of the list parameter `name`."""

    inherit_cache = False
    # As Boolean, SQLite would be given `... = 1`, which no index serves.
    type = NULLTYPE  # type: ignore[assignment]

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.parameter = _list_parameter(name, _plain(column.type))

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.column._from_objects)


def in_list(column: ColumnElement[Any], name: str) -> InList:
    """`column` equals a member of the list parameter `name`; one statement for any number of values."""
    return InList(column, name)


class LikeAny(ColumnElement[bool]):
    """`column` matches a pattern of the list parameter `name`."""

    inherit_cache = False
    # As Boolean, SQLite would be given `... = 1`, which no index serves.
    type = NULLTYPE  # type: ignore[assignment]

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.parameter = _list_parameter(name, Text())

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.column._from_objects)


def like_any(column: ColumnElement[Any], name: str) -> LikeAny:
    """`column` matches a pattern of the list parameter `name`.

    `%` is any string, `_` one character; there is no escape, and cases differ (on SQLite by the engine's
    `PRAGMA case_sensitive_like`).
    """
    return LikeAny(column, name)


class Lines(ColumnElement[str]):
    """The texts of a column, joined by line feeds: an aggregate."""

    inherit_cache = False
    type = Text()

    def __init__(self, column: ColumnElement[Any]) -> None:
        self.column = column

    @property
    def _from_objects(self) -> list[Any]:
        return list(self.column._from_objects)


def lines(column: ColumnElement[Any]) -> Lines:
    """The texts of `column` in any order, joined by line feeds; NULL when there is none."""
    return Lines(column)


def insert_or_ignore(table: Table) -> postgresql.Insert:
    """Insert unless a unique index holds the row already, and `execute` then counts 0; both dialects spell it
    so.
    """
    return postgresql.insert(table).on_conflict_do_nothing()


@lru_cache
def insert_row(table: TableClause, columns: tuple[str, ...]) -> ClauseElement:
    """Insert one row of `columns`."""
    return insert(table).values({column: bindparam(column, type_=table.c[column].type) for column in columns})


#: Tables, and the columns that are given of each.
TableColumns = tuple[tuple[TableClause, tuple[str, ...]], ...]


@lru_cache
def insert_arrays(tables: TableColumns) -> str:
    """The text that inserts into several tables at once on PostgreSQL, given an array for each column."""
    numbers = itertools.count(1)
    return _in_one([_insert_arrays(table, columns, numbers) for table, columns in tables])


def insertion_when(
    when: CompiledStatement,
    parameters: Mapping[str, Any],
    batches: Iterable[tuple[TableClause, Sequence[Mapping[str, Any]]]],
) -> tuple[str, list[Any]]:
    """The statement that inserts `batches` in their order when `when` finds a row, and its arguments."""
    arguments = when.arguments(parameters)
    inserts = [((table, tuple(rows[0])), rows) for table, rows in batches if rows]
    text = _insert_arrays_when(when.text, len(arguments), tuple(columns for columns, _ in inserts))
    return text, [*arguments, *arrays_of(inserts)]


def arrays_of(
    inserts: Iterable[tuple[tuple[TableClause, Sequence[str]], Sequence[Mapping[str, Any]]]],
) -> Iterator[list[Any]]:
    """An array for each column of each table, as `insert_arrays` is given them."""
    return ([row[column] for row in rows] for (_, columns), rows in inserts for column in columns)


@lru_cache
def _insert_arrays_when(when: str, number: int, tables: TableColumns) -> str:
    """The text that inserts only when the statement `when` finds a row, and in the order of the tables; the
    arrays come behind the `number` arguments of `when`.

    Of a statement's parts PostgreSQL promises no order, but whoever counts the rows of a part needs all of
    them: each table waits for the one before.
    """
    numbers = itertools.count(number + 1)
    inserts = [
        f"{_insert_arrays(table, columns, numbers)} WHERE (SELECT count(*) FROM part_{at}) > 0 RETURNING 1"  # noqa: S608
        for at, (table, columns) in enumerate(tables)
    ]
    return _in_one([when, *inserts])


def _insert_arrays(table: TableClause, columns: Iterable[str], numbers: Iterator[int]) -> str:
    arrays = ", ".join(f"${next(numbers)}::{_array_of(table.c[column])}" for column in columns)
    return f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"  # noqa: S608


def _in_one(texts: Sequence[str]) -> str:
    *first, last = texts
    parts = ", ".join(f"part_{number} AS MATERIALIZED ({text})" for number, text in enumerate(first))
    return f"WITH {parts} {last}" if parts else last


def _array_of(column: ColumnElement[Any]) -> str:
    return f"{column.type.compile(dialect=dialect_of(POSTGRESQL))}[]"


def _plain(type_: TypeEngine[Any]) -> TypeEngine[Any]:
    if isinstance(type_, BigInteger):
        return BigInteger()
    return Integer() if isinstance(type_, Integer) else Text()


@compiles(ListParameter, SQLITE)
def _list_sqlite(element: ListParameter, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.visit_bindparam(element, **options))  # type: ignore[no-untyped-call]


@compiles(ListParameter, POSTGRESQL)
def _list_postgresql(element: ListParameter, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.visit_bindparam(element, **options))  # type: ignore[no-untyped-call]


@compiles(InList, SQLITE)
def _in_sqlite(element: InList, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    values = compiler.process(element.parameter, **options)
    return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608  # compiled parts


@compiles(InList, POSTGRESQL)
def _in_postgresql(element: InList, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    return f"({column} = ANY ({compiler.process(element.parameter, **options)}))"


@compiles(LikeAny, SQLITE)
def _like_sqlite(element: LikeAny, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    patterns = compiler.process(element.parameter, **options)
    return f"EXISTS (SELECT 1 FROM json_each({patterns}) AS pattern WHERE {column} LIKE pattern.value)"  # noqa: S608


@compiles(LikeAny, POSTGRESQL)
def _like_postgresql(element: LikeAny, compiler: SQLCompiler, **options: Any) -> str:
    column = compiler.process(element.column, **options)
    patterns = compiler.process(element.parameter, **options)
    # ESCAPE '' because the standard defines none, and PostgreSQL's default is the backslash.
    matches = f"{column} LIKE pattern.value ESCAPE ''"
    return f"EXISTS (SELECT 1 FROM unnest({patterns}) AS pattern(value) WHERE {matches})"  # noqa: S608


@compiles(Lines, SQLITE)
def _lines_sqlite(element: Lines, compiler: SQLCompiler, **options: Any) -> str:
    return f"group_concat({compiler.process(element.column, **options)}, char(10))"


@compiles(Lines, POSTGRESQL)
def _lines_postgresql(element: Lines, compiler: SQLCompiler, **options: Any) -> str:
    return f"string_agg({compiler.process(element.column, **options)}, chr(10))"


# --- compiled -----------------------------------------------------------------------------------------

_Convert = Callable[[Any], Any]
_encode_json = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class CompiledStatement:
    """A statement's text and its arguments in order: name, what to do with the value, its default."""

    text: str
    positions: tuple[tuple[str, _Convert | None, Any], ...]

    def arguments(self, parameters: Mapping[str, Any]) -> list[Any]:
        """The driver's arguments; a parameter that is missing raises `KeyError` with its name."""
        arguments = []
        for name, convert, default in self.positions:
            value = parameters[name] if default is None else parameters.get(name, default)
            arguments.append(value if convert is None else convert(value))
        return arguments

    def arguments_of_each(self, rows: Sequence[Mapping[str, Any]]) -> list[Sequence[Any]]:
        """`arguments` of each of `rows`; of plain columns for a tenth of the price."""
        names = [name for name, convert, default in self.positions if convert is None and default is None]
        if 1 < len(names) == len(self.positions):
            return list(map(itemgetter(*names), rows))
        return [self.arguments(row) for row in rows]


#: What is compiled, by the dialect and the statement's identity; the statement is kept beside its text, so
#: that the identity stays its own. Every database and thread of the process uses it.
_COMPILED: dict[str, dict[int, tuple[ClauseElement, CompiledStatement]]] = {}


class Statements:
    """Compiles each statement once for one dialect and keeps it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._dialect = dialect_of(name)
        self._compiled = _COMPILED.setdefault(name, {})

    def compiled(self, statement: ClauseElement) -> CompiledStatement:
        """The text of `statement` for this dialect."""
        entry = self._compiled.get(id(statement))
        if entry is None:
            if len(self._compiled) >= MAX_COMPILED:
                self._compiled.clear()
            entry = self._compiled[id(statement)] = (statement, self._compile(statement))
        return entry[1]

    def _compile(self, statement: ClauseElement) -> CompiledStatement:
        compiled = statement.compile(dialect=self._dialect)
        text = str(compiled)
        if "[POSTCOMPILE_" in text:
            raise TypeError("expanding parameters are not compiled once; use in_list")
        assert isinstance(compiled, SQLCompiler)
        return CompiledStatement(
            text, tuple(self._position(name, compiled.binds[name]) for name in compiled.positiontup or ())
        )

    def _position(self, name: str, bind: BindParameter[Any]) -> tuple[str, _Convert | None, Any]:
        return (name, self._conversion(bind), bind.value)

    def _conversion(self, bind: BindParameter[Any]) -> _Convert | None:
        if not isinstance(bind, ListParameter):
            return None
        return _json_list if self._name == SQLITE else _list


def _json_list(values: Iterable[Any]) -> str:
    return _encode_json(list(values))


def _list(values: Iterable[Any]) -> Sequence[Any]:
    return list(values)
