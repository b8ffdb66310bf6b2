"""From layers to one frozen value, all mistakes at once.

Of one layer the service's own table wins: `XDSI_<SERVICE>__NAME` over `XDSI_NAME`, the file's `[<service>]`
over its top level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from shared.settings import names
from shared.settings.error import SettingsError
from shared.settings.group import HIDDEN, Hiding, is_secret
from shared.settings.names import FILE, PREFIX, SEPARATOR, nested, setting_at, variable
from shared.settings.sources import DEFAULT, Layer, Origin, OriginKind, content, why

_SHOWN = 80

#: What would be right, where pydantic's own words do not say it.
_REMEDIES = {
    "bool_parsing": "is neither true nor false; write one of them",
    "bool_type": "is neither true nor false; write one of them",
    "int_parsing": "is no whole number; write one in digits",
    "int_from_float": "is no whole number; write one in digits",
    "int_type": "is no whole number; write one in digits",
    "float_parsing": "is no number; write one in digits",
    "float_type": "is no number; write one in digits",
    "finite_number": "is no finite number; write one in digits",
    "tuple_type": 'is no list; write ["a", "b"]',
    "dict_type": 'is no table; write {"a": "b"}',
    "string_type": "is no text; write it in quotes",
    "path_type": "is no path; write it as text",
}


class OwnedSettings(Hiding):
    """Settings that are loaded as a whole; `service` names the table of those whose they are."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    service: ClassVar[str] = ""

    def problems(self) -> list[str]:
        """Contradictions between settings, each with its remedy."""
        return []


AnySettings = TypeVar("AnySettings", bound=OwnedSettings)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[AnySettings]):
    """The effective settings, and of each place that was given its origin."""

    settings: AnySettings
    origins: Mapping[names.Path, Origin]

    def origins_of(self, path: names.Path) -> tuple[Origin, ...]:
        """Where the setting at `path` was given, a table perhaps by several; else the default alone."""
        origins = (origin for at, origin in self.origins.items() if at[: len(path)] == path)
        return tuple(dict.fromkeys(origins)) or (DEFAULT,)


def loaded(
    settings_class: type[AnySettings], layers: Iterable[Layer], changes: Mapping[str, Any] | None = None
) -> Loaded[AnySettings]:
    """The effective settings of a class; `changes` win over every layer.

    Raises
    ------
    SettingsError
        With every mistake at once.
    """
    table: dict[str, Any] = {}
    origins: dict[names.Path, Origin] = {}
    problems: list[str] = []
    service = settings_class.service
    for layer in layers:
        own = layer.table.get(service, {})
        if not isinstance(own, Mapping):
            raise SettingsError((f"{PREFIX}{service.upper()}: is no setting but a table of them",))
        problems += [
            no_setting((service, *path), (settings_class,), layer)
            for path in names.unknown(settings_class, own)
            if len(path) == 1  # below a group pydantic refuses it
        ]
        for above, values in (((), layer.table), ((service,), own)):
            _merge(table, values)
            _note(origins, values, layer, above)
    _merge(table, changes or {})
    _note(origins, changes or {}, Layer(OriginKind.ARGUMENT, {}), ())
    problems += _take_from_files(settings_class, table, PREFIX)
    try:
        settings = settings_class.model_validate(table)
    except ValidationError as error:
        wrong = (_problem(settings_class, detail, origins) for detail in error.errors())
        raise SettingsError((*problems, *wrong)) from None
    problems += (_as_given(problem, origins) for problem in settings.problems())
    if problems:
        raise SettingsError(tuple(problems))
    return Loaded(settings, origins)


def no_setting(path: names.Path, classes: Iterable[type[OwnedSettings]], layer: Layer) -> str:
    """That no setting is at `path` of a layer, and which one of the classes is probably meant."""
    name = variable(path)
    place = f" (in {layer.place})" if layer.place else ""
    meant = names.nearest(name, (known for one in classes for known in variables(one)))
    return f"{name}: is no setting{place}{meant or '; docs/settings.md lists them'}"


def variables(settings_class: type[OwnedSettings]) -> Iterator[str]:
    """Every name under which the environment may give a setting of the class."""
    service = settings_class.service
    for setting in names.settings_of(settings_class):
        for above in ((), (service,)) if service else ((),):
            yield variable((*above, *setting.path))
            if setting.secret:
                yield variable((*above, *setting.path, FILE))


# --- merging -----------------------------------------------------------------------------------------


def _merge(base: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, Mapping) and isinstance(base.get(name), dict):
            _merge(base[name], value)
        elif isinstance(value, Mapping):
            base[name] = {}
            _merge(base[name], value)
        else:
            base[name] = value


def _note(
    origins: dict[names.Path, Origin], table: Mapping[str, Any], layer: Layer, above: names.Path
) -> None:
    """Remember of what `_merge` took where it came from; what it replaced is forgotten."""
    for path in _leaves(table):
        for replaced in [at for at in origins if at[: len(path)] == path or path[: len(at)] == at]:
            del origins[replaced]
        origins[path] = Origin(layer.kind, variable((*above, *path)), layer.place)


def _leaves(table: Mapping[str, Any], above: names.Path = ()) -> Iterator[names.Path]:
    for name, value in table.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path


def _take_from_files(settings_class: type[BaseModel], table: dict[str, Any], prefix: str) -> Iterator[str]:
    """Put into `table` what `NAME__FILE` leads to, for each secret; what is wrong."""
    for name, field in settings_class.model_fields.items():
        value = table.get(name)
        if not isinstance(value, dict):
            continue
        if (group := names.group_of(field)) is not None:
            yield from _take_from_files(group, value, f"{prefix}{name.upper()}{SEPARATOR}")
        elif is_secret(settings_class, name):
            table.pop(name)
            file = f"{prefix}{name.upper()}{SEPARATOR}{FILE.upper()}"
            if list(value) != [FILE]:
                yield f"{file}: name a file here, and nothing else below it"
                continue
            try:
                if not (text := content(Path(str(value[FILE])))):
                    raise ValueError("it is empty")
                table |= nested({f"{PREFIX}{name.upper()}": text})
            except SettingsError:
                yield f"{file}: what the file holds begins as JSON and is none"
            except (OSError, ValueError) as error:
                yield f"{file}: {value[FILE]} cannot be read ({why(error)}); name another file"


# --- what is wrong -----------------------------------------------------------------------------------


def _problem(settings_class: type[OwnedSettings], detail: Any, origins: Mapping[names.Path, Origin]) -> str:
    place = tuple(str(part) for part in detail["loc"])
    setting = setting_at(settings_class, place)
    if setting is None:
        name, at = _given_as(place, origins)
        if detail["type"] == "model_type":
            return f"{name}: is a group of settings{at}; give those below it, {name}{SEPARATOR}…"
        return f"{name}: is no setting{at}{names.nearest(name, variables(settings_class))}"
    name, at = _given_as(setting.path, origins)
    inside = place[len(setting.path) :]
    # A name in a table that is wrong itself is told as the value it is.
    entry = "".join(f"{part}: " for part in inside if inside[-1] != "[key]")
    mistake = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    remedy = _REMEDIES.get(detail["type"]) or mistake
    if detail["type"] == "missing":
        return f"{name}: is needed beside the others of its group; give it too{at}"
    value = HIDDEN if setting.secret else _short(detail["input"])
    return f"{name}: {entry}{value} {remedy}{_in_unit(setting, detail['type'])}{at}"


def _in_unit(setting: names.Setting, mistake: str) -> str:
    unit = setting.form.unit if setting.form is not None else ""
    return f" ({unit})" if unit and mistake in _REMEDIES else ""


def _given_as(path: names.Path, origins: Mapping[names.Path, Origin]) -> tuple[str, str]:
    """The name under which the setting at `path` was given, and in words in which file."""
    place = next((origin for at, origin in origins.items() if at[: len(path)] == path), None)
    if place is None:
        return variable(path), ""
    # An entry of a table was given below the name of its setting.
    ending = next(at for at in origins if at[: len(path)] == path)[len(path) :]
    name = place.variable.removesuffix("".join(f"{SEPARATOR}{part.upper()}" for part in ending))
    return name, f" (in {place.place})" if place.place else ""


def _as_given(problem: str, origins: Mapping[names.Path, Origin]) -> str:
    """`problem`, which begins with the name of a setting, under the name by which it was given."""
    name, colon, rest = problem.partition(": ")
    path = names.path_of(name)
    if not colon or path not in origins:
        return problem
    return f"{_given_as(path, origins)[0]}: {rest}"


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
