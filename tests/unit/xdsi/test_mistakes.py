"""Every command with every kind of wrong value: one sentence that names it, and the status that is promised.

The commands, their arguments and options are walked as the command line itself knows them, so that a new one
is tried too. No service runs: whoever is asked is away.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from xdsi.cli import COMMANDS, build, main

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
    command = typer.main.get_command(build(name)).commands[name]  # type: ignore[attr-defined]
    for inner, one in getattr(command, "commands", {"": command}).items():
        yield (name, inner) if inner else (name,), one


def is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def good(parameter: Any) -> list[str]:
    """A value with which the command comes as far as asking somebody."""
    if Path in kinds(parameter):
        value = "folder"
    elif parameter.name == "effect":
        value = "deny"
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


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG_SETTINGS.items() for value in values]
)
def test_a_wrong_setting_is_named_by_those_who_serve_and_those_who_look(
    xdsi, monkeypatch: pytest.MonkeyPatch, name: str, value: str
):
    monkeypatch.setenv(name, value)
    for words in (["serve", "repository"], ["doctor"]):
        ended = xdsi(*words)
        holds(ended)
        assert ended.status == 1
        assert name in ended.said


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
