"""`xdsi settings`: what holds, and where it was given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from shared.settings import HIDDEN, ServiceSettings, SettingsError
from shared.settings.loading import Loaded
from shared.settings.names import settings_of
from shared.settings.sources import OriginKind
from shared.settings.text import without_passwords, written
from xdsi.configuration import read
from xdsi.options import AsJson, Config
from xdsi.services import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """A setting of one service: its value as the environment would give it, and where it was given."""

    variable: str
    value: str
    origin: str
    given_as: str = ""
    secret: bool = False


def command(
    service: Annotated[
        list[Service] | None, typer.Option(help="Of this service alone; may be given several times.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Print the effective settings, and of each where it was given: default, file, variable or credential.

    Secrets are hidden. What holds for all services is printed once, above what is a service's own.

    Example: [bold]xdsi settings --service registry --config /etc/xdsi.toml[/bold]
    """
    values = _found(list(dict.fromkeys(service or Service)), config)
    if as_json:
        content = {name: [asdict(one) for one in settings] for name, settings in values.items()}
        typer.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    typer.echo("\n".join(_lines(values)))


def _found(services: list[Service], config: Path | None) -> dict[str, tuple[Effective, ...]]:
    values: dict[str, tuple[Effective, ...]] = {}
    problems: list[str] = []
    for service in services:
        try:
            values[service.value] = tuple(effective(service, config))
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(tuple(dict.fromkeys(problems)))
    return values


def effective(service: Service, config: Path | None) -> Iterator[Effective]:
    """The settings of one service, in the order of their class.

    Raises
    ------
    SettingsError
        They cannot be used.
    """
    loaded: Loaded[ServiceSettings] = read(service.settings_class(), config)
    derived = loaded.settings.derived_values()
    for setting in settings_of(service.settings_class()):
        value: object = loaded.settings
        for name in setting.path:
            value = getattr(value, name)
        origins = loaded.origins_of(setting.path)
        shown = written(derived.get(setting.path) if value is None else value)
        yield Effective(
            variable=setting.variable,
            value=HIDDEN if setting.secret and shown else without_passwords(shown),
            origin=" and ".join(map(str, origins)),
            given_as=" ".join(one.variable for one in origins if one.kind is not OriginKind.DEFAULT),
            secret=setting.secret,
        )


def _lines(values: dict[str, tuple[Effective, ...]]) -> Iterator[str]:
    """`VARIABLE=value  (origin)`, first what is the same everywhere."""
    common: tuple[Effective, ...] = ()
    if len(values) > 1:
        first, *others = values.values()
        common = tuple(one for one in first if all(one in other for other in others))
        yield "# every service"
        yield from map(_line, common)
    for name, settings in values.items():
        if common:
            yield ""
        yield f"# {name}"
        yield from (_line(one) for one in settings if one not in common)


def _line(setting: Effective) -> str:
    return f"{setting.variable}={setting.value}  ({setting.origin})"
