"""Every command with every kind of wrong value: one sentence that names it, and the status that is promised.

The commands, their arguments and options are walked as the command line itself knows them, so that a new one
is tried too. No service runs: whoever is asked is away.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import AfterValidator

from shared.settings import SettingsError
from shared.settings import kinds as value_kinds
from shared.settings.loading import loaded
from shared.settings.names import settings_of
from shared.settings.sources import layers
from tests.support.command_line import command_line
from xdsi import cli
from xdsi.cli import COMMANDS, main
from xdsi.services import Service

AWAY = "http://127.0.0.1:9"
SURPRISES = (
    "",
    " ",
    "\x01",
    "^^^",
    "^^^&&",
    "[bold",
    "{",
    "-",
    "a" * 5_000,
    "\udcff",
    "\u00a0日本\n",
    "2026-13-45",
    "../nowhere",
)
# What is done with good values takes services, which other tests start.
WALKED = [name for name in COMMANDS if name not in ("demo", "serve", "up")]
# Settings of every kind, and what is no value of it.
WRONG_SETTINGS = {
    "XDSI_PORT": ("many", "-1", "80000", "1.5", ""),
    "XDSI_HOST": ("[::1", "10.9.9.9", "nowhere.invalid"),
    "XDSI_XUA": ("sometimes",),
    "XDSI_COMMUNITY_NODES": ("CN=a", "[", "[[1]]", "[" * 10_000),
    "XDSI_REGISTRY_URL": ("rubbish", "ftp://a", "http://", "http://a:port", "http://a:99999"),
    "XDSI_REGISTRY_URLS": ("x", '{"ITI-18": "rubbish"}', '{"ITI-18": 5}'),
    "XDSI_DATABASE_URL": ("rubbish", "mysql://a/b", "postgresql://a:port/b"),
    "XDSI_DATABASE_URL__FILE": ("/nowhere", "/", "/dev/null"),
    "XDSI_TLS": ("x",),
    "XDSI_TLS__CERTIFICATE": ("/nowhere", "/"),
    "XDSI_TLS__CHECK_HOST_NAMES": ("perhaps",),
    "XDSI_CONSENT__DEFAULT": ("maybe",),
    "XDSI_CONSENT__MAX_AGE_SECONDS": ("31", "-1", "long"),
    "XDSI_CONSENT__URL": ("rubbish",),
    "XDSI_AUDIT__SPOOL_MAX_BYTES": ("much", "0"),
}


@dataclass(frozen=True, slots=True)
class Ended:
    status: int
    said: str


@pytest.fixture
def xdsi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command line as a person calls it, in this process."""
    for name in [name for name in os.environ if name.startswith("XDSI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("REGISTRY", "REPOSITORY", "IMAGING_SOURCE"):
        monkeypatch.setenv(f"XDSI_{name}_URL", AWAY)
    for name in ("REGISTRY__MLLP", "IMAGING_SOURCE__", "AUDIT_REPOSITORY__"):
        monkeypatch.setenv(f"XDSI_{name.rstrip('_')}{'__' if name.endswith('__') else '_'}PORT", "9")
    monkeypatch.setenv("XDSI_DATA", str(tmp_path / "var"))
    monkeypatch.setattr(cli, "build", command_line)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.dcm").write_bytes(b"no DICOM")
    (tmp_path / "folder").mkdir()
    before, hook = os.umask(0o077), sys.excepthook

    def call(*words: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["xdsi", *words])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        captured = capsys.readouterr()
        return Ended(status, captured.err + (captured.out if "doctor" in words else ""))

    yield call
    os.umask(before)
    sys.excepthook = hook


def subcommands(name: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield from _below((name,), command_line(name).commands[name])


def _below(path: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for inner, one in command.commands.items():
        yield from _below((*path, inner), one)


def is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def good(parameter: Any) -> list[str]:
    """A value with which the command comes as far as asking somebody."""
    if Path in kinds(parameter):
        value = "folder"
    elif parameter.name == "effect":
        value = "deny"
    elif parameter.name == "certificate":
        value = "ab" * 32
    elif choices := [kind for kind in kinds(parameter) if issubclass(kind, StrEnum)]:
        value = next(iter(choices[0])).value
    elif parameter.name in ("patient", "patient_id", "old", "new"):
        value = f"P-{parameter.name}"
    else:
        value = "1.2.3"
    return [value] if is_argument(parameter) else [parameter.opts[0], value]


def words_with(path: tuple[str, ...], command: Any, wrong: Any, value: str) -> list[str]:
    options, arguments = [], []
    for parameter in command.params:
        if parameter is wrong:
            given = [value] if is_argument(parameter) else [f"{parameter.opts[0]}={value}"]
        elif parameter.required:
            given = good(parameter)
        else:
            continue
        (arguments if is_argument(parameter) else options).extend(given)
    return [*path, *options, "--", *arguments]


def parameters() -> Iterator[tuple[tuple[str, ...], str]]:
    for name in WALKED:
        for path, command in subcommands(name):
            for parameter in command.params:
                if not getattr(parameter, "is_flag", False) and parameter.name != "help":
                    yield path, parameter.name or ""


def found(path: tuple[str, ...], wanted: str) -> tuple[Any, Any]:
    command = dict(subcommands(path[0]))[path]
    return command, next(one for one in command.params if one.name == wanted)


def kinds(parameter: Any) -> set[type]:
    """The types that a value of it may have."""
    annotation = parameter.type_descriptor.annotation
    return {one for one in (annotation, *get_args(annotation)) if isinstance(one, type)}


def is_typed(parameter: Any) -> bool:
    """Whether the command line itself tells a wrong value."""
    return any(issubclass(kind, StrEnum | int | float) for kind in kinds(parameter))


def holds(ended: Ended) -> None:
    """No trace, no mistake of ours, and a reason wherever something was not done."""
    assert ended.status in (0, 1, 2), ended
    assert "Traceback" not in ended.said, ended
    assert "mistake of xdsi itself" not in ended.said, ended
    assert ended.said or ended.status == 0


@pytest.mark.parametrize(("path", "name"), list(parameters()), ids=str)
def test_no_value_of_any_argument_ends_in_a_trace(xdsi, path: tuple[str, ...], name: str):
    command, parameter = found(path, name)
    for value in ("nonsense", "-7", *SURPRISES):
        ended = xdsi(*words_with(path, command, parameter, value))
        holds(ended)
        if is_typed(parameter) and value in ("nonsense", ""):
            assert ended.status == 2, ended
            assert parameter.opts[0] in ended.said


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ["find", "--patient", "P1", "--since", "yesterday"],
            "--since yesterday: write a time as 2026-09-01",
        ),
        (["find", "--patient", "P1", "--before", "2026-02-30"], "--before 2026-02-30: write"),
        (["find", "--patient", "P1^^^&&"], "'P1^^^&&' is not a patient id; write ID"),
        (["find", "--patient", "P1", "--user", "a", "--role", "R"], "'R' is not a code; write CODE^^SCHEME"),
        (["audit", "report", "--patient", "P1", "--since", "soon"], "--since soon: write a time as"),
        (["audit", "search", "--url", "rubbish"], "--url rubbish: write it as http://host:8050"),
        (["patient", "add", "P1", "--to", "host"], "--to"),
        (["publications", "--retry", "--withdraw"], "--retry and --withdraw"),
        (["serve", "oven"], "oven"),
        (["serve", "repository", "--workers", "2"], "--workers"),
        (["up", "--offset", "many"], "--offset"),
        (["nonsense"], "nonsense"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right_and_is_wrong_usage(
    xdsi, words: list[str], named: str
):
    ended = xdsi(*words)
    holds(ended)
    assert ended.status == 2
    assert named in ended.said


CONFIGS = {
    "not there": None,
    "no TOML": b"host = [\n",
    "not UTF-8": b"\xff\xfe",
    "a group as a value": b"tls = 5\n",
    "a table as a value": b"".join(
        b"%s = 5\n" % name
        for name in (b"registry", b"repository", b"imaging_source", b"consumer", b"audit_repository")
    ),
    "nested too deep": b"a = " + b"[" * 5_000,
}


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    "words", ["find --patient P", "doctor", "audit verify", "db verify", "serve registry"]
)
def test_a_wrong_configuration_is_named(xdsi, tmp_path: Path, words: str, kind: str):
    content = CONFIGS[kind]
    if content is not None:
        (tmp_path / "xdsi.toml").write_bytes(content)
    ended = xdsi(*words.split(), "--config", "xdsi.toml")
    holds(ended)
    assert ended.status == 1
    assert re.search(r"--config|XDSI_[A-Z]+", ended.said)


# One setting of each kind that every command reads, for those who do not serve.
WRONG_EVERYWHERE = {
    "XDSI_CONNECTIONS": "many",
    "XDSI_HOST": "[::1",
    "XDSI_XUA": "sometimes",
    "XDSI_AFFINITY_DOMAIN": "1.02",
    "XDSI_HOME_COMMUNITY_ID": "2.999",
    "XDSI_REGISTRY_URL": "rubbish",
    "XDSI_TRUSTED_ORIGINS": '["http://a/b"]',
    "XDSI_DATABASE_URL": "rubbish",
    "XDSI_COMMUNITY_NODES": "CN=a",
    "XDSI_REGISTRY_URLS": "x",
    "XDSI_TLS": "x",
    "XDSI_TLS__CERTIFICATE": "/nowhere",
    "XDSI_TLS__CHECK_HOST_NAMES": "perhaps",
    "XDSI_ASSERTION__SKEW_SECONDS": "inf",
    "XDSI_AUDIT__SPOOL_MAX_BYTES": "much",
    "XDSI_AUDIT__URL": "rubbish",
    "XDSI_PROT": "1",
}
# They make or judge something, and read no settings.
WITHOUT_SETTINGS = frozenset({"certificates", "conform", "convert", "record", "simulate", "validate"})
# What is said besides, where one of two things has to be.
ONE_OF_TWO = {("db", "warm"): ["--all"]}
# Looks at the backup that it is given first, and there is none.
WITHOUT_BACKUP = frozenset({("db", "restore")})


def commands() -> Iterator[tuple[str, ...]]:
    for name in WALKED:
        if name not in WITHOUT_SETTINGS:
            yield from (path for path, _ in subcommands(name) if path not in WITHOUT_BACKUP)


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_a_wrong_setting_of_each_kind_is_named_by_every_command(
    xdsi, monkeypatch: pytest.MonkeyPatch, path: tuple[str, ...]
):
    command = dict(subcommands(path[0]))[path]
    words = [*path, *ONE_OF_TWO.get(path, ()), *words_with(path, command, None, "")[len(path) :]]
    for name, value in WRONG_EVERYWHERE.items():
        with monkeypatch.context() as given:
            given.setenv(name, value)
            ended = xdsi(*words)
        holds(ended)
        assert ended.status == 1, (name, ended)
        assert name in ended.said


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_SETTINGS.items() for value in values]
)
def test_a_wrong_setting_is_named_by_those_who_serve_and_those_who_look(
    xdsi, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    for words in (["serve", "repository"], ["doctor"], ["settings"]):
        ended = xdsi(*words)
        if words == ["settings"] and ended.status == 0:
            continue  # what a setting names is not opened to print it
        holds(ended)
        assert ended.status == 1
        assert name in ended.said


# --- every setting -----------------------------------------------------------------------------------

# What is no value of a kind; the kinds that take any text have none.
OF_A_KIND: dict[Any, tuple[str, ...]] = {
    bool: ("perhaps", "2", ""),
    int: ("many", "1.5", "", "0x10", "1e400"),
    float: ("many", "nan", "inf", "", "1e400", "5 s"),
    tuple: ("CN=a", '{"a": "b"}', "[1, [2]]", "[", '"'),
    dict: ("x", '["a"]', "{", '{"a": [[1]]}'),
    StrEnum: ("sometimes", ""),
    value_kinds.http_url: ("rubbish", "ftp://a", "http://", "http://a:port", "http://a b/", ""),
    value_kinds.site_url: ("rubbish", "http://login.example", "ftp://a", "https://", ""),
    value_kinds._origin: ("rubbish", "http://a/b", "http://u@a", ""),
    value_kinds._database_url: ("rubbish", "mysql://a/b", "postgresql://a:port/b", ""),
    value_kinds._storage_url: ("rubbish", "file://host/a", "file:///", "s3://", "http://a/", ""),
    value_kinds._syslog_urls: ("rubbish", "http://a:1", "tls://", "tcp://192.0.2.1:1", "tls://a:0", ""),
    value_kinds._oid: ("x", "1", "1.02", "3.1", "1.2.", "urn:oid:1.2", "1.40", "1." + "2" * 64, ""),
    value_kinds._oid_or_nothing: ("x", "1.02"),
    value_kinds._home_community_id: ("2.999", "urn:oid:", "urn:uuid:2.999", "URN:OID:2.999", ""),
    value_kinds._uri: ("our provider", "a b:c", ""),
    value_kinds._issuer: (" provider", "a\nb", ""),
    value_kinds._host: ("[::1", "http://a", "a:1", "192.0.2.300", "a b", ""),
    value_kinds.ae_title: ("A" * 17, "A\\\\B", " A", "A ", "Ä", ""),
    value_kinds._code: ("ADMIN", "a^^", "^^a", "a^b^c", ""),
}


def kinds_of(annotation: Any, metadata: Any = ()) -> Iterator[Any]:
    """The kinds of values in the annotation of a setting, the outermost first."""
    for one in metadata:
        if isinstance(one, AfterValidator):
            yield one.func
    if get_origin(annotation) is Annotated:
        yield from kinds_of(annotation.__origin__, annotation.__metadata__)
    elif get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from kinds_of(one)
    elif isinstance(origin := get_origin(annotation) or annotation, type):
        yield StrEnum if issubclass(origin, StrEnum) else origin


def wrong_values() -> Iterator[tuple[Service, str, str]]:
    for service in Service:
        for setting in settings_of(service.settings_class()):
            of = list(kinds_of(setting.field.annotation, setting.field.metadata))
            for kind in of:
                # What one kind refuses, another of the same setting may take: str is every text.
                if kind in OF_A_KIND and (kind not in (dict, tuple) or str not in of):
                    yield from ((service, setting.variable, value) for value in OF_A_KIND[kind])
            if get_origin(setting.field.annotation) is tuple:
                for kind in kinds_of(get_args(setting.field.annotation)[0]):
                    values = OF_A_KIND.get(kind, ())
                    yield from ((service, setting.variable, json.dumps([value])) for value in values if value)


EVERY_WRONG_VALUE = list(wrong_values())


def test_settings_of_every_kind_are_tried():
    tried = {name for _, name, _ in EVERY_WRONG_VALUE}
    left = {
        setting.variable
        for service in Service
        for setting in settings_of(service.settings_class())
        if setting.variable not in tried
    }
    assert len(EVERY_WRONG_VALUE) > 1_000
    # Texts and paths, which have no form; what they name is looked at when it is opened.
    for service in Service:
        for setting in settings_of(service.settings_class()):
            if setting.variable in left:
                of = set(kinds_of(setting.field.annotation, setting.field.metadata))
                assert of <= {str, Path, type(None)} or setting.path[0] == "publishing", setting.variable


@pytest.mark.parametrize("service", Service)
def test_no_setting_takes_a_value_that_is_none_of_its_kind(service: Service):
    for of, name, value in EVERY_WRONG_VALUE:
        if of is service:
            with pytest.raises(SettingsError) as refused:
                loaded(service.settings_class(), layers(None, {name: value}))
            assert any(problem.startswith(f"{name}") for problem in refused.value.problems), (name, value)


def test_a_mistake_of_ours_ends_in_a_sentence_and_a_trace_that_nobody_else_reads(
    xdsi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("xdsi.doctor.examine", lambda *_: [][0])
    ended = xdsi("doctor")
    assert ended.status == 1
    assert len(ended.said.splitlines()) == 1
    [trace] = tmp_path.glob("xdsi-trace-*")
    assert str(trace) in ended.said
    assert "IndexError" in trace.read_text()
    assert trace.stat().st_mode & 0o777 == 0o600
