"""Logs are JSON, and say nothing about a patient."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ebrim.model import Code
from shared.telemetry.log import HIDDEN, Phi, correlation_id, logger
from tests.support.logs import log_lines

NAME = "Müller^Änne"


@pytest.fixture
def lines():
    with log_lines() as lines:
        yield lines


def test_an_event_is_one_line_of_json_with_its_service_logger_level_and_time(lines):
    logger("registry.app").info("ready", port=8010, checks=["database", "disk"])

    (line,) = lines()
    assert line["event"] == "ready"
    assert (line["service"], line["logger"], line["level"]) == ("registry", "registry.app", "info")
    assert (line["port"], line["checks"]) == (8010, ["database", "disk"])
    assert line["timestamp"].endswith("Z")


@given(st.text(min_size=4))
def test_a_wrapped_value_is_never_shown(secret):
    wrapped = Phi(secret)
    shown = {
        str(wrapped),
        repr(wrapped),
        f"{wrapped}",
        f"{wrapped:>10}",
        f"{wrapped!r}",
        json.dumps([wrapped], default=str),
    }
    assert shown == {HIDDEN, f'["{HIDDEN}"]'}
    assert wrapped.value == secret


def test_a_wrapped_value_is_hidden_wherever_it_stands(lines):
    log = logger("a")
    log.info("found", given=Phi(NAME), nested={"deep": [Phi(NAME)]}, text=f"for {Phi(NAME)}")
    log.info("found %s", Phi(NAME))
    logging.getLogger("foreign").warning("found %s", Phi(NAME))

    assert len(lines()) == 3
    assert NAME not in json.dumps(lines(), ensure_ascii=False)
    assert lines()[0]["nested"] == {"deep": [HIDDEN]}


@pytest.mark.parametrize("name", ["patient_id", "patient_name", "password", "token", "assertion"])
def test_some_names_hide_whatever_they_hold(lines, name):
    logger("a").info("found", **{name: NAME})
    assert lines()[0][name] == HIDDEN


def test_a_value_with_fields_is_named_by_its_type(lines):
    logger("a").info("found", code=Code(NAME, "1.2.3"))
    assert lines()[0]["code"] == "<Code>"


def fail() -> None:
    try:
        raise ValueError(f"{NAME} is no patient")
    except ValueError as error:
        raise KeyError(NAME) from error


def test_an_exception_is_told_by_kind_and_place_and_not_by_its_text(lines):
    try:
        fail()
    except KeyError as error:
        logger("a").error("failed", exc_info=error)
        logger("a").exception("failed")
        logging.getLogger("uvicorn.error").error("Exception in ASGI application\n", exc_info=error)

    for line in lines():
        assert [one["type"] for one in line["exception"]] == ["builtins.KeyError", "builtins.ValueError"]
        assert line["exception"][0]["at"][-1].endswith(" fail")
    assert len(lines()) == 3
    assert NAME not in json.dumps(lines(), ensure_ascii=False)


def test_an_error_of_the_system_says_which_but_not_where(lines):
    logger("a").error("failed", exc_info=FileNotFoundError(2, "No such file or directory", f"/in/{NAME}.dcm"))
    assert lines()[0]["exception"][0]["reason"] == "No such file or directory"
    assert NAME not in json.dumps(lines(), ensure_ascii=False)


def test_a_chain_of_exceptions_ends(lines):
    one, two = ValueError(), KeyError()
    one.__cause__, two.__cause__ = two, one
    logger("a").error("failed", exc_info=one)
    assert len(lines()[0]["exception"]) == 8


def test_other_libraries_are_heard_from_warning_on(lines):
    for name in ("httpx2", "pynetdicom.acse", "uvicorn.error"):
        logging.getLogger(name).info("GET /studies?PatientID=%s", NAME)
    assert lines() == []


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_level_lets_a_library_be_heard_below_warning(level):
    with log_lines(level=level) as lines:
        for name in ("foreign", "multipart", "httpx2", "sqlalchemy.pool", "asyncio"):
            logging.getLogger(name).info("GET /studies?PatientID=%s", NAME)
            logging.getLogger(name).debug("GET /studies?PatientID=%s", NAME)
        assert lines() == []


@pytest.mark.parametrize(("level", "heard"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_a_level_leaves_out_what_is_below_it(level, heard):
    with log_lines(level=level) as lines:
        log = logger("registry.app")
        log.debug("a")
        log.info("b")
        log.warning("c")
        log.error("d")
        assert [line["event"] for line in lines()] == list("abcd")[4 - heard :]


def test_an_event_without_a_trace_has_none(lines):
    logger("a").error("failed", exc_info=None)
    logging.getLogger("foreign").error("failed")
    assert not any("exception" in line or "exc_info" in line for line in lines())


FOREIGN = (
    "pydicom",
    "pydicom.values",
    "pynetdicom.dsutils",
    "asyncio",
    "py.warnings",
    "sqlalchemy.pool",
    "x",
)


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_what_a_library_says_is_told_by_its_place_and_not_by_its_text(lines, name, level):
    library = logging.getLogger(name)
    library.log(level, f"Invalid value for VR PN: '{NAME}'")
    library.log(level, "Invalid value for VR PN: %r", NAME)

    for line in lines():
        assert line["logger"] == name
        assert "test_log.py:" in line["at"]
    assert len(lines()) == 2
    assert NAME not in json.dumps(lines(), ensure_ascii=False)


def test_our_own_modules_are_heard_in_their_words(lines):
    logging.getLogger("imaging_source.dimse").warning("no association for %s", "192.0.2.1")

    (line,) = lines()
    assert line["event"] == "no association for 192.0.2.1"


def test_a_warning_is_a_line_with_its_kind_and_place_once_for_each_place(lines):
    for number in range(3):
        warnings.warn(f"Invalid value for VR UI: '{NAME}{number}'", UserWarning, stacklevel=1)

    (line,) = lines()
    assert (line["kind"], line["level"]) == ("UserWarning", "warning")
    assert "test_log.py:" in line["at"]
    assert NAME not in json.dumps(lines(), ensure_ascii=False)


def test_no_text_of_a_warning_is_remembered(lines):
    def warn(number: int) -> None:
        warnings.warn(f"{NAME} {number}", UserWarning, stacklevel=1)

    for number in range(20):
        warn(number)

    assert NAME not in repr(globals().get("__warningregistry__", {}))


def test_an_exception_that_ends_a_thread_is_told_like_any_other(lines):
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()

    (line,) = lines()
    assert line["exception"][0]["type"] == "builtins.KeyError"
    assert NAME not in json.dumps(lines(), ensure_ascii=False)


def test_a_configured_process_says_nothing_in_texts_of_others():
    program = (
        "import gc, logging, sys, threading, warnings\n"
        "from shared.telemetry.log import configure\n"
        "configure('registry')\n"
        "logging.getLogger('pydicom').warning('Muster^Max')\n"
        "warnings.warn('Muster^Max')\n"
        "class Odd:\n"
        "    def __del__(self): raise ValueError('Muster^Max')\n"
        "Odd()\n"
        "def fail(): raise ValueError('Muster^Max')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    heard = [json.loads(line) for line in ran.stderr.splitlines()]
    assert [line["logger"] for line in heard] == ["pydicom", "warnings", "uncaught", "uncaught", "uncaught"]
    assert "Muster" not in ran.stderr + ran.stdout


def test_before_configuration_warnings_go_to_standard_error_and_say_as_little():
    program = (
        "from shared.telemetry.log import Phi, logger\n"
        "logger('a').info('quiet')\n"
        "try: raise ValueError('Muster^Max')\n"
        "except ValueError as error: logger('a').warning('heard', given=Phi('Muster^Max'), exc_info=error)\n"
    )
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    (line,) = ran.stderr.splitlines()
    assert json.loads(line)["event"] == "heard"
    assert "Muster" not in line


def test_a_line_feed_does_not_make_a_line(lines):
    logger("a").info("one\ntwo", value='x\n{"event": "forged"}')
    assert len(lines()) == 1


def test_correlation_ids_differ():
    assert len({correlation_id() for _ in range(100)}) == 100
