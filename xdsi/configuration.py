"""The settings of a command, among the settings of all services: what none of them has is refused.

A file and an environment are shared by services. Each reads what is its own, so that a name which one does
not know may be another's; only whoever knows all of them can say that it is nobody's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from shared.settings import PREFIX, ServiceSettings, SettingsError
from shared.settings.loading import Loaded, loaded, no_setting
from shared.settings.names import variable
from shared.settings.sources import Layer, layers
from xdsi.services import Service

AnySettings = TypeVar("AnySettings", bound=ServiceSettings)

# Nearly every name is known to one that is loaded fast; the images' libraries come last.
_SEARCHED = (
    Service.CONSUMER,
    Service.REPOSITORY,
    Service.REGISTRY,
    Service.GATEWAY,
    Service.AUDIT_REPOSITORY,
    Service.CONFORMANCE,
    Service.IMAGING_SOURCE,
)


def load(settings_class: type[AnySettings], config: Path | None = None, **changes: Any) -> AnySettings:
    """The effective settings of a class; `changes` win over all.

    Raises
    ------
    SettingsError
        With every mistake at once, among them names that are no setting of any service.
    """
    return read(settings_class, config, **changes).settings


def read(
    settings_class: type[AnySettings], config: Path | None = None, **changes: Any
) -> Loaded[AnySettings]:
    """The same with the origin of each."""
    every_layer = layers(config)
    problems = [*_misspelt(os.environ), *strangers(every_layer, settings_class)]
    try:
        configuration = loaded(settings_class, every_layer, changes)
    except SettingsError as error:
        raise SettingsError((*problems, *error.problems)) from None
    if problems:
        raise SettingsError(tuple(problems))
    return configuration


def strangers(all_layers: Iterable[Layer], settings_class: type[ServiceSettings]) -> Iterator[str]:
    """What no service knows, one sentence for each; of another service its table alone is looked at."""
    services = {service.package for service in Service}
    for layer in all_layers:
        left = set()
        for name, value in layer.table.items():
            if name in services and not isinstance(value, Mapping):
                yield f"{variable((name,))}: is no setting but a table of them"
            elif name not in services and name not in settings_class.model_fields:
                left.add(name)
        for service in _SEARCHED:
            if not left:
                break
            left -= service.settings_class().model_fields.keys()
        for name in sorted(left):
            classes = [service.settings_class() for service in Service]
            value = layer.table[name]
            path = (name, *_first(value)) if isinstance(value, Mapping) else (name,)
            yield no_setting(path, classes, layer)


def _first(table: Mapping[str, Any]) -> tuple[str, ...]:
    """The place of the first value in a table: a name in the environment is whole with it."""
    for name, value in table.items():
        return (str(name), *_first(value)) if isinstance(value, Mapping) else (str(name),)
    return ()


def _misspelt(environ: Mapping[str, str]) -> Iterator[str]:
    """Variables that begin with the letters of ours, in another case or order."""
    for name in sorted(environ):
        beginning, rest = name[: len(PREFIX)], name[len(PREFIX) :]
        if beginning == PREFIX:
            continue
        if beginning.upper() == PREFIX:
            yield f"{name}: is no setting; write it in capitals, {name.upper()}"
        elif sorted(beginning) == sorted(PREFIX) and beginning.endswith(PREFIX[-1]):
            yield f"{name}: is no setting; did you mean {PREFIX}{rest}?"
