"""The names of settings: `XDSI_GROUP__NAME` in the environment, `group.name` in a file.

`Setting` is one of them as its class declares it; whatever prints, finds or explains settings walks these.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.settings.error import SettingsError
from shared.settings.group import is_secret
from shared.settings.kinds import Spelling

PREFIX = "XDSI_"
SEPARATOR = "__"
#: Below a secret: the file that holds it.
FILE = "file"

Path = tuple[str, ...]


def variable(path: Iterable[str]) -> str:
    """The environment's name of the setting at `path`: `("tls", "key")` is XDSI_TLS__KEY."""
    return PREFIX + SEPARATOR.join(part.upper() for part in path)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as its class declares it."""

    path: Path
    field: FieldInfo
    secret: bool
    #: None where the value follows from others, or nothing is meant; `otherwise` tells which.
    default: Any

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return variable(self.path)

    @property
    def form(self) -> Spelling | None:
        """How its values are written, where its kind says so."""
        return next(_forms(*self.field.metadata, self.field.annotation), None)

    @property
    def otherwise(self) -> str:
        """In words what holds when nothing is given, where the default alone does not tell."""
        extra = self.field.json_schema_extra
        return str(extra.get("otherwise", "")) if isinstance(extra, dict) else ""

    @property
    def is_table(self) -> bool:
        """Whether its value is a table with names of its own."""
        return get_origin(self.field.annotation) is dict


def _forms(*of: Any) -> Iterator[Spelling]:
    """The forms in the metadata of a field and, below them, in its annotation."""
    for one in of:
        if isinstance(one, Spelling):
            yield one
        elif get_origin(one) in (Annotated, Union, UnionType):
            yield from _forms(*getattr(one, "__metadata__", ()), *get_args(one))


def group_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a group of settings; None when `field` is one setting."""
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def settings_of(
    settings_class: type[BaseModel], above: Path = (), defaults: BaseModel | None = None
) -> Iterator[Setting]:
    """Every setting of a class, those of its groups at their places; `defaults` win over the class's own."""
    for name in settings_class.model_fields:
        setting = _setting(settings_class, (*above, name), defaults)
        if (group := group_of(setting.field)) is not None:
            yield from settings_of(group, setting.path, setting.default)
        else:
            yield setting


def _setting(settings_class: type[BaseModel], path: Path, defaults: BaseModel | None = None) -> Setting:
    name = path[-1]
    field = settings_class.model_fields[name]
    default = field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
    return Setting(path, field, is_secret(settings_class, name), default)


def setting_at(settings_class: type[BaseModel], path: Path) -> Setting | None:
    """The setting that `path` leads to, or through: an entry of a table is of its table's setting."""
    for length in range(1, len(path) + 1):
        if path[length - 1] not in settings_class.model_fields:
            return None
        setting = _setting(settings_class, path[:length])
        group = group_of(setting.field)
        if group is None:
            return setting
        settings_class = group
    return None


def unknown(settings_class: type[BaseModel], table: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """The places of `table` that are no setting of the class."""
    for name, value in table.items():
        field = settings_class.model_fields.get(name)
        if field is None:
            yield (*above, name)
        elif (group := group_of(field)) is not None and isinstance(value, Mapping):
            yield from unknown(group, value, (*above, name))


def nearest(wrong: str, names: Iterable[str]) -> str:
    """`; did you mean …?` with the one of `names` that looks most like `wrong`, or nothing."""
    likely = difflib.get_close_matches(wrong, list(dict.fromkeys(names)), n=1, cutoff=0.75)
    return f"; did you mean {likely[0]}?" if likely else ""


def nested(environ: Mapping[str, str]) -> dict[str, Any]:
    """`XDSI_TLS__KEY=x` as `{"tls": {"key": "x"}}`; JSON lists and tables are read as such.

    Raises
    ------
    SettingsError
        A value is no JSON though it begins so, or a name is given a value beside the values below it.
    """
    table: dict[str, Any] = {}
    problems = []
    for name, value in sorted(environ.items()):
        if not name.startswith(PREFIX):
            continue
        place = table
        *groups, last = path_of(name)
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):
                problems.append(f"{name}: stands beside a value of {_above(name)}; give one of the two")
                inner = {}
            place = inner
        try:
            place[last] = json.loads(value) if value.startswith(("[", "{")) else value
        except (ValueError, RecursionError):
            problems.append(
                f'{name}: begins as JSON and is none; write a list as ["a", "b"], a table as {{"a": "b"}}'
            )
    if problems:
        raise SettingsError(tuple(problems))
    return table


def path_of(name: str) -> Path:
    """Where the variable `name` puts its value."""
    return tuple(name.removeprefix(PREFIX).lower().split(SEPARATOR))


def _above(name: str) -> str:
    return name.rpartition(SEPARATOR)[0]
