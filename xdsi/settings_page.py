"""The page of settings, as it is printed into `docs/`."""

from __future__ import annotations

from collections.abc import Iterator

from shared.settings import ServiceSettings
from shared.settings.names import FILE, Setting, settings_of, variable
from shared.settings.text import written
from xdsi.services import Service

WRITTEN = "<!-- Printed from the code by `python -m xdsi.documents`; change it there. -->"

_INTRODUCTION = """
Environment variables, or the same names in a TOML file (`--config`). A setting of one service is given as
`XDSI_<SERVICE>__NAME` (TOML: in the service's table) and wins over `XDSI_NAME`. The environment wins over
the file. Lists and tables in the environment are JSON. `xdsi settings` prints what holds, and where it was
given.

A secret may stand in a file: `XDSI_…__FILE` names it (TOML: `name = {file = "…"}`). Credentials of systemd
(`LoadCredential=XDSI_DATABASE_URL:…`) count as variables, and one that is set wins.

A name that no service knows is refused, with the one that is probably meant. Kubernetes sets variables for
every Service object: where one is named `xdsi-…`, say `enableServiceLinks: false` in the pod.
""".strip()

_KEEPS = (Service.REGISTRY, Service.REPOSITORY, Service.IMAGING_SOURCE, Service.AUDIT_REPOSITORY)
_ASKS_CONSENT = (Service.REPOSITORY, Service.IMAGING_SOURCE)
_SENDS = (Service.REPOSITORY, Service.IMAGING_SOURCE, Service.CONSUMER, Service.GATEWAY)
_DOCUMENTS = (Service.REGISTRY, Service.REPOSITORY)
COMMANDS = "commands"
#: Who reads the settings that all services may be given, by their place or its beginning; the others are
#: read by all.
READERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("database_url",): _KEEPS,
    ("database_wait_seconds",): _KEEPS,
    ("registry_url",): (*_SENDS, COMMANDS),
    ("registry_urls",): (*_SENDS, COMMANDS),
    ("repository_url",): (Service.IMAGING_SOURCE, Service.CONSUMER, Service.GATEWAY),
    ("consent", "default"): (Service.REGISTRY, *_ASKS_CONSENT),
    ("consent",): _ASKS_CONSENT,
    ("assertion", "issuer"): (Service.CONSUMER, COMMANDS),
    ("assertion", "key"): (Service.CONSUMER, COMMANDS),
    ("assertion", "certificate"): (Service.CONSUMER, COMMANDS),
    ("rights", "feed"): (Service.REGISTRY, Service.IMAGING_SOURCE),
    ("rights", "submit"): _DOCUMENTS,
    ("rights", "update"): _DOCUMENTS,
    ("rights", "store"): (Service.IMAGING_SOURCE,),
    ("rights", "reject"): (Service.IMAGING_SOURCE,),
    ("rights", "publish"): _ASKS_CONSENT,
    ("rights", "ask"): (
        *_DOCUMENTS,
        Service.IMAGING_SOURCE,
        Service.CONSUMER,
        Service.GATEWAY,
        Service.CONFORMANCE,
    ),
    ("rights", "policies"): (Service.REGISTRY,),
    ("rights", "consent"): _DOCUMENTS,
    ("rights", "trail"): (Service.AUDIT_REPOSITORY,),
    ("rights", "record"): (Service.AUDIT_REPOSITORY,),
    ("rights", "test"): (Service.CONFORMANCE,),
}


def settings_page() -> str:
    """Every setting: its variable, default, example and meaning; first what all services share."""
    lines = ["# Settings", "", WRITTEN, "", _INTRODUCTION, "", "## Every service", ""]
    lines += _table((setting for setting in settings_of(ServiceSettings) if setting.path != ("port",)), True)
    shared = ServiceSettings.model_fields.keys() - {"port"}
    for service in Service:
        own = (one for one in settings_of(service.settings_class()) if one.path[0] not in shared)
        lines += ["", f"## {service.value.replace('-', ' ').capitalize()}", "", *_table(own, False)]
    return "\n".join(lines) + "\n"


def readers(path: tuple[str, ...]) -> tuple[str, ...]:
    """Who reads the setting at `path` of those that all services share; nothing means all."""
    for length in range(len(path), 0, -1):
        if path[:length] in READERS:
            return READERS[path[:length]]
    return ()


def _table(settings: Iterator[Setting], is_shared: bool) -> Iterator[str]:
    who = ("read by",) if is_shared else ()
    columns = ("variable", "default", "example", *who, "meaning")
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for setting in settings:
        read_by = (", ".join(readers(setting.path)) or "all",) if is_shared else ()
        cells = (f"`{setting.variable}`", default(setting), example(setting), *read_by, _meaning(setting))
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def default(setting: Setting) -> str:
    """The default in words, with its unit."""
    value = written(setting.default)
    if value:
        return f"`{value}`{_unit(setting)}"
    return setting.otherwise or "none"


def example(setting: Setting) -> str:
    """A value as the environment would give it; empty where the default is example enough."""
    value = example_of(setting)
    return f"`{value}`" if value else ""


def example_of(setting: Setting) -> str:
    """An example as the environment would give it, of the setting or of its kind."""
    if setting.field.examples:
        return written(setting.field.examples[0])
    if setting.form is None or written(setting.default):
        return ""
    return setting.form.example


def _unit(setting: Setting) -> str:
    return f" {setting.form.unit}" if setting.form is not None and setting.form.unit else ""


def _meaning(setting: Setting) -> str:
    meaning = setting.field.description or ""
    if setting.secret:
        meaning += f" (secret: never shown; or `{variable((*setting.path, FILE))}`)"
    return meaning
