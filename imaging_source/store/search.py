"""Studies, series and instances that may match a query, in the order in which they came.

The database narrows by what it has an index for, or a column; it never leaves out what matches. What is left
is matched, and told, by whoever asks. What arrives meanwhile comes behind all that was there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, union_all

from imaging_source.store.instance_rows import INSTANCE_COLUMNS, instance_of
from imaging_source.store.tables import instance, series, study
from shared.imaging.instance import Instance
from shared.imaging.query.levels import QueryLevel, of_level
from shared.imaging.query.matching import (
    AnyRule,
    Match,
    NameRule,
    RangeRule,
    Rule,
    TextRule,
    UidRule,
    WordsRule,
    folded,
    plain_name,
)
from shared.imaging.query.query import Query
from shared.store.engine import Reader, Row
from shared.store.statements import in_list

#: Of so many the database looks at first whether they match, before it uses an index that does not keep the
#: order.
_WINDOW: Final = 2_000
_FROM: Final = ("", "")
_AFTER_ALL: Final = "\U0010ffff"


class Candidate(NamedTuple):
    """What may match: where it stands in the order, its UIDs as far as its level has them, the instance that
    says what it is, and its attributes with those of the levels above, as DICOM JSON.

    `instance` is that one, where instances are searched. A tuple, because there are hundreds in an answer.
    """

    place: tuple[str, str]
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    attributes: dict[str, Any]
    instance: Instance | None = None


async def find_candidates(
    reader: Reader, query: Query, *, after: tuple[str, str] = _FROM, limit: int
) -> Sequence[Candidate]:
    """The next candidates after a place in the order, at most `limit`; fewer only when there are no more."""
    conditions = dict(_conditions(query))
    shape = frozenset(conditions)
    parameters: dict[str, Any] = {}
    for values in conditions.values():
        parameters |= values
    parameters |= {"after_at": after[0], "after_uid": after[1], "limit": limit}
    rows = None
    if query.level is QueryLevel.STUDY and shape and shape.isdisjoint(_SELECTIVE):
        rows = await reader.fetch(_statement(query.level, shape, windowed=True), **parameters)
    if rows is None or len(rows) < limit:
        rows = await reader.fetch(_statement(query.level, shape, windowed=False), **parameters)
    return _CANDIDATES[query.level](rows)


# --- statements --------------------------------------------------------------------------------------

_COLUMNS: Final[Mapping[QueryLevel, tuple[ColumnElement[Any], ...]]] = {
    QueryLevel.STUDY: (
        study.c.received_at,
        study.c.study_instance_uid,
        study.c.sop_instance_uid,
        study.c.attributes,
    ),
    QueryLevel.SERIES: (
        series.c.received_at,
        series.c.series_instance_uid,
        series.c.study_instance_uid,
        series.c.sop_instance_uid,
        series.c.attributes,
        study.c.attributes,
    ),
    QueryLevel.INSTANCE: (
        *INSTANCE_COLUMNS,
        # An older release kept the header alone.
        func.coalesce(instance.c.attributes, instance.c.header),
        series.c.attributes,
        study.c.attributes,
    ),
}
_OF_INSTANCE: Final = len(INSTANCE_COLUMNS)
_RECEIVED_AT: Final = INSTANCE_COLUMNS.index(instance.c.received_at)
_ORDER: Final = {
    QueryLevel.STUDY: (study.c.received_at, study.c.study_instance_uid),
    QueryLevel.SERIES: (series.c.received_at, series.c.series_instance_uid),
    QueryLevel.INSTANCE: (instance.c.received_at, instance.c.sop_instance_uid),
}
_UID_OF_STUDY: Final = {
    QueryLevel.STUDY: study.c.study_instance_uid,
    QueryLevel.SERIES: series.c.study_instance_uid,
    QueryLevel.INSTANCE: instance.c.study_instance_uid,
}
_UID_OF_SERIES: Final = {
    QueryLevel.SERIES: series.c.series_instance_uid,
    QueryLevel.INSTANCE: instance.c.series_instance_uid,
}
#: Few have these values, and they come in order.
_SELECTIVE: Final = frozenset({"study", "studies", "patient", "patients", "accession", "accessions"})


@lru_cache(maxsize=512)
def _statement(level: QueryLevel, shape: frozenset[str], *, windowed: bool) -> Select[Any]:
    at, uid = _ORDER[level]
    after = at >= bindparam("after_at"), or_(at > bindparam("after_at"), uid > bindparam("after_uid"))
    if windowed:
        window = select(*study.c).where(*after).order_by(at, uid).limit(_WINDOW).subquery("study_window")
        columns = [window.c[column.name] for column in (*_COLUMNS[level],)]
        place = window.c.received_at, window.c.study_instance_uid
        where = [_condition(level, name, window.c) for name in sorted(shape)]
        return select(*columns).where(*where).order_by(*place).limit(bindparam("limit"))
    where = [_condition(level, name, study.c) for name in sorted(shape)]
    return (
        select(*_COLUMNS[level])
        .select_from(_joined(level))
        .where(*after, *where)
        .order_by(at, uid)
        .limit(bindparam("limit"))
    )


def _joined(level: QueryLevel) -> Any:
    if level is QueryLevel.STUDY:
        return study
    of_study = study.c.study_instance_uid == _UID_OF_STUDY[level]
    if level is QueryLevel.SERIES:
        return series.join(study, of_study)
    of_series = series.c.study_instance_uid == instance.c.study_instance_uid
    same = series.c.series_instance_uid == instance.c.series_instance_uid
    return instance.join(series, of_series & same).join(study, of_study)


def _condition(level: QueryLevel, name: str, studies: Any) -> ColumnElement[bool]:
    column: ColumnElement[Any]
    match name:
        case "study" | "studies":
            column = studies.study_instance_uid if level is QueryLevel.STUDY else _UID_OF_STUDY[level]
        case "patient" | "patients":
            column = studies.patient_id
        case "accession" | "accessions":
            column = studies.accession_number
        case "series" | "all_series":
            column = _UID_OF_SERIES[level]
        case "modality" | "modalities":
            column = series.c.modality
        case "instance" | "instances":
            column = instance.c.sop_instance_uid
        case "sop_class" | "sop_classes":
            column = instance.c.sop_class_uid
        case "modality_in_study" | "modalities_in_study":
            of = select(series.c.study_instance_uid).where(
                _is(series.c.modality, name) if name == "modality_in_study" else _in(series.c.modality, name)
            )
            return studies.study_instance_uid.in_(of)  # type: ignore[no-any-return]
        case _:
            return _of_kind(name, studies)
    return _is(column, name) if name in _ALONE else _in(column, name)


def _of_kind(name: str, studies: Any) -> ColumnElement[bool]:
    """A range, or a pattern, of a column of studies."""
    kind, _, of = name.partition(" ")
    column = studies[of]
    if kind == "between":
        # BETWEEN takes no parameter with a collation of its own.
        return (column >= bindparam(f"{of}_first")) & (column <= bindparam(f"{of}_last"))  # type: ignore[no-any-return]
    like = column.like(bindparam(f"{of}_like"))
    if kind == "like":
        return like  # type: ignore[no-any-return]
    from_start = (column >= bindparam(f"{of}_first")) & (column < bindparam(f"{of}_end"))
    # Names of several groups stand together, behind an equals sign.
    several = (column >= "=") & (column < ">") & like
    if studies is not study.c:
        return or_(from_start, several)
    # Of alternatives SQLite would look at every study in the order of arrival; of each it has an index.
    uids = (select(study.c.study_instance_uid).where(one).correlate(None) for one in (from_start, several))
    return studies.study_instance_uid.in_(union_all(*uids))


def _is(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column == bindparam(name)


def _in(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return in_list(column, name)


# --- conditions --------------------------------------------------------------------------------------

#: Conditions of one value, and what they are called for several.
_ALONE: Final = {
    "study": "studies",
    "patient": "patients",
    "accession": "accessions",
    "series": "all_series",
    "modality": "modalities",
    "instance": "instances",
    "sop_class": "sop_classes",
    "modality_in_study": "modalities_in_study",
}
_UIDS: Final = {
    0x0020000D: ("study", QueryLevel.STUDY),
    0x0020000E: ("series", QueryLevel.SERIES),
    0x00080018: ("instance", QueryLevel.INSTANCE),
    0x00080016: ("sop_class", QueryLevel.INSTANCE),
}
_TEXTS: Final = {
    0x00100020: ("patient", QueryLevel.STUDY),
    0x00080050: ("accession", QueryLevel.STUDY),
    0x00080060: ("modality", QueryLevel.SERIES),
    0x00080061: ("modality_in_study", QueryLevel.STUDY),
}
_STUDY_DATE: Final = 0x00080020
_PATIENT_NAME: Final = 0x00100010

_Conditions = Iterable[tuple[str, dict[str, Any]]]


def _conditions(query: Query) -> _Conditions:
    """What narrows the candidates, by name, each with its parameters; of two for one column the last."""
    for key in query.keys:
        if len(key.path) == 1 and key.rule is not None:
            yield from _of_key(key, key.rule, query.level)


def _of_key(key: Match, rule: Rule, level: QueryLevel) -> _Conditions:
    (tag,) = key.path
    name, of = _UIDS.get(tag) or _TEXTS.get(tag) or ("", QueryLevel.STUDY)
    values = _values(rule)
    if name and values and of <= level:
        yield (name, {name: values[0]}) if len(values) == 1 else (_ALONE[name], {_ALONE[name]: values})
    elif tag == _STUDY_DATE and isinstance(rule, RangeRule):
        yield "between study_date", {"study_date_first": rule.first, "study_date_last": rule.last}
    elif tag == _PATIENT_NAME:
        yield from _of_name(rule)


def _values(rule: Rule) -> list[str]:
    """The values of which one is meant; empty when there are others."""
    if isinstance(rule, UidRule):
        return sorted(rule.uids)
    if isinstance(rule, TextRule) and not rule.wildcards:
        return [rule.text]
    if isinstance(rule, AnyRule):
        listed = [_values(one) for one in rule.rules]
        return [value for values in listed for value in values] if all(listed) else []
    return []


def _of_name(rule: Rule) -> _Conditions:
    """By the beginning of a name where that is said, else by a part of it."""
    if isinstance(rule, WordsRule):
        yield "like patient_name", {"patient_name_like": f"%{max(rule.words, key=len)}%"}
    if not isinstance(rule, NameRule):
        return
    # What LIKE would read as its escape is any character.
    parts = folded(plain_name(rule.text)).replace("\\", "_").replace("?", "*").split("*")
    start = parts[0].rstrip("^ ")
    like = f"%{max(parts, key=len).strip('^ ')}%"
    if start and "=" not in start:
        yield (
            "starting patient_name",
            {
                "patient_name_first": start,
                "patient_name_end": start + _AFTER_ALL,
                "patient_name_like": like,
            },
        )
    elif like != "%%":
        yield "like patient_name", {"patient_name_like": like}


# --- rows --------------------------------------------------------------------------------------------


def _studies(rows: Iterable[Row]) -> list[Candidate]:
    return [
        Candidate((received_at, study_uid), study_uid, "", sop, json.loads(attributes))
        for received_at, study_uid, sop, attributes in rows
    ]


def _series(rows: Iterable[Row]) -> list[Candidate]:
    return [
        Candidate((at, series_uid), study_uid, series_uid, sop, json.loads(above) | json.loads(attributes))
        for at, series_uid, study_uid, sop, attributes, above in rows
    ]


def _instances(rows: Iterable[Row]) -> list[Candidate]:
    # Those of one series come together, and each brings the same.
    @lru_cache(maxsize=64)
    def above(of_study: bytes, of_series: bytes) -> dict[str, Any]:
        return json.loads(of_study) | json.loads(of_series)  # type: ignore[no-any-return]

    return [_candidate(row, above(row[-1], row[-2])) for row in rows]


def _candidate(row: Row, above: Mapping[str, Any]) -> Candidate:
    # Where the file is is nothing that is asked here.
    one = instance_of(row[:_OF_INSTANCE], str)
    return Candidate(
        (row[_RECEIVED_AT], one.sop_instance_uid),
        one.study_instance_uid,
        one.series_instance_uid,
        one.sop_instance_uid,
        {**above, **of_level(json.loads(row[-3]), QueryLevel.INSTANCE)},
        one,
    )


_CANDIDATES: Final[Mapping[QueryLevel, Callable[[Iterable[Row]], list[Candidate]]]] = {
    QueryLevel.STUDY: _studies,
    QueryLevel.SERIES: _series,
    QueryLevel.INSTANCE: _instances,
}


# --- what belongs to them -----------------------------------------------------------------------------

_MODALITIES = select(series.c.study_instance_uid, series.c.modality).where(
    in_list(series.c.study_instance_uid, "studies")
)
_NUMBERS = (
    select(instance.c.study_instance_uid, instance.c.series_instance_uid, func.count())
    .where(in_list(instance.c.study_instance_uid, "studies"))
    .group_by(instance.c.study_instance_uid, instance.c.series_instance_uid)
)
_CLASSES = (
    select(instance.c.study_instance_uid, instance.c.sop_class_uid)
    .where(in_list(instance.c.study_instance_uid, "studies"))
    .distinct()
)


async def modalities_of(reader: Reader, studies: Iterable[str]) -> dict[str, list[str]]:
    """The modalities of the series of each of `studies`, sorted."""
    modalities: dict[str, set[str]] = {}
    for uid, modality in await reader.fetch(_MODALITIES, studies=sorted(set(studies))):
        modalities.setdefault(uid, set()).add(modality)
    return {uid: sorted(of - {""}) for uid, of in modalities.items()}


async def classes_of(reader: Reader, studies: Iterable[str]) -> dict[str, list[str]]:
    """The SOP classes of the instances of each of `studies`, sorted."""
    classes: dict[str, set[str]] = {}
    for uid, sop_class in await reader.fetch(_CLASSES, studies=sorted(set(studies))):
        classes.setdefault(uid, set()).add(sop_class)
    return {uid: sorted(of) for uid, of in classes.items()}


async def count_instances(reader: Reader, studies: Iterable[str]) -> dict[str, dict[str, int]]:
    """How many instances each series of each of `studies` has, hidden ones among them."""
    numbers: dict[str, dict[str, int]] = {}
    for uid, series_uid, number in await reader.fetch(_NUMBERS, studies=sorted(set(studies))):
        numbers.setdefault(uid, {})[series_uid] = number
    return numbers
