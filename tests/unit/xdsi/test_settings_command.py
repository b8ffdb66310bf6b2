"""`xdsi settings` prints what holds and where it was given, and no secret."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from shared.settings import ServiceSettings
from shared.settings.loading import variables
from shared.settings.names import nested, settings_of
from xdsi.cli import build
from xdsi.services import Service
from xdsi.settings_page import READERS, default, example_of, settings_page

RUNNER = CliRunner(env={"NO_COLOR": "1"})


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)  # where no community runs
    for name in [name for name in os.environ if name.upper().startswith("XDSI_")]:
        monkeypatch.delenv(name)


def xdsi(*words: str, **env: str):
    return RUNNER.invoke(build("settings"), ["settings", *words], env=env)


def lines(*words: str, **env: str) -> list[str]:
    told = xdsi(*words, **env)
    assert told.exit_code == 0, told.output
    return told.stdout.splitlines()


def test_each_origin_is_told(tmp_path: Path):
    config = tmp_path / "xdsi.toml"
    config.write_text('patients = "any"\nhost = "::1"\n[registry]\nquery_limit = 7\n')
    (tmp_path / "xdsi_feed_namespace").write_text("HOSPITAL\n")
    told = lines(
        "--service",
        "registry",
        "--config",
        str(config),
        XDSI_REGISTRY__PORT="9",
        XDSI_HOST="127.0.0.1",
        CREDENTIALS_DIRECTORY=str(tmp_path),
    )
    assert told[0] == "# registry"
    assert {
        "XDSI_PORT=9  (variable XDSI_REGISTRY__PORT)",
        "XDSI_HOST=127.0.0.1  (variable XDSI_HOST)",
        f"XDSI_PATIENTS=any  (file {config})",
        f"XDSI_QUERY_LIMIT=7  (file {config})",
        f"XDSI_FEED_NAMESPACE=HOSPITAL  (credential {tmp_path})",
        "XDSI_REPLAY_DAYS=7  (default)",
    } <= set(told)


def test_what_follows_from_others_is_told_as_it_holds():
    assert {
        "XDSI_XUA=optional  (default)",
        "XDSI_MLLP_PORT=2575  (default)",
        "XDSI_CONSENT__DEFAULT=permit  (default)",
        "XDSI_ASSERTION__AUDIENCE=urn:oid:2.999  (default)",
    } <= set(lines("--service", "registry", XDSI_AFFINITY_DOMAIN="2.999"))


def test_a_table_that_several_sources_give_names_them(tmp_path: Path):
    config = tmp_path / "xdsi.toml"
    config.write_text('[registry_urls]\nITI-18 = "http://a/"\n')
    told = lines("--config", str(config), XDSI_REGISTRY_URLS='{"ITI-42": "http://b/"}')
    [line] = [line for line in told if line.startswith("XDSI_REGISTRY_URLS=")]
    assert json.loads(line.partition("=")[2].partition("  (")[0]) == {
        "ITI-18": "http://a/",
        "ITI-42": "http://b/",
    }
    assert line.endswith(f"(file {config} and variable XDSI_REGISTRY_URLS__ITI-42)")


def test_no_secret_is_printed(tmp_path: Path):
    (tmp_path / "key").write_text("geheim")
    given = {
        "XDSI_DATABASE_URL": "postgresql://a:geheim@db/x",
        "XDSI_S3__ACCESS_KEY": "xdsi",
        "XDSI_S3__SECRET_KEY__FILE": str(tmp_path / "key"),
        "XDSI_ENCRYPTION_KEY_COMMAND": '["print", "geheim"]',
        "XDSI_REGISTRY_URL": "http://u:geheim@127.0.0.1:1/xds/registry",
    }
    for words in ((), ("--json",)):
        told = "\n".join(lines(*words, **given))
        assert "geheim" not in told
        assert "***" in told


def test_what_all_services_share_is_printed_once():
    told = lines()
    assert told[0] == "# every service"
    assert sum(line.startswith("XDSI_HOST=") for line in told) == 1
    assert {line for line in told if line.startswith("XDSI_PORT=")} == {
        f"XDSI_PORT={port}  (default)" for port in (8010, 8020, 8030, 8040, 8050, 8060, 8090, 8100)
    }


def test_json_has_every_setting_of_a_service():
    content = json.loads("\n".join(lines("--json", "--service", "gateway")))
    expected = [one.variable for one in settings_of(Service.GATEWAY.settings_class())]
    assert [one["variable"] for one in content["gateway"]] == expected


def test_settings_that_cannot_be_used_are_told_once(monkeypatch: pytest.MonkeyPatch):
    told = xdsi(XDSI_PORT="many", XDSI_QERY_LIMIT="1")
    assert told.exit_code == 1
    assert sorted(told.exception.problems) == [  # type: ignore[union-attr]
        "XDSI_PORT: 'many' is no whole number; write one in digits",
        "XDSI_QERY_LIMIT: is no setting; did you mean XDSI_QUERY_LIMIT?",
    ]


# --- the page ----------------------------------------------------------------------------------------


def every_setting():
    return [(one, setting) for one in Service for setting in settings_of(one.settings_class())]


def test_the_page_tells_of_every_setting_its_default_and_where_that_tells_little_an_example():
    page = settings_page()
    assert "Undefined" not in page
    for _, setting in every_setting():
        assert f"| `{setting.variable}` | {default(setting)} |" in page
        assert default(setting).startswith("`") or example_of(setting), setting.variable


@pytest.mark.parametrize("service", Service)
def test_every_example_of_the_page_is_a_value_of_its_setting(service: Service):
    """Alone, or beside those of the group that it cannot do without."""
    settings_class = service.settings_class()
    given = [(one, text) for one in settings_of(settings_class) if (text := example_of(one))]
    for setting, text in given:
        try:
            settings_class.model_validate(nested({setting.variable: text}))
        except ValidationError:
            group = setting.path[:-1]
            assert group
            beside = {one.variable: other for one, other in given if one.path[:-1] == group}
            settings_class.model_validate(nested(beside))


def test_the_readers_of_the_page_are_of_settings_that_are_there():
    paths = [one.path for one in settings_of(ServiceSettings)]
    for path in READERS:
        assert any(one[: len(path)] == path for one in paths), path


ROOT = Path(__file__).parents[3]
# What stands for any name, and mistakes that a page tells of.
_NO_NAMES = {"XDSI_NAME", "XDSI_PROT", "XDSI_REGISTRY__PROT", "XDSI_REGISTRY_PORT"}


def test_every_variable_that_a_page_names_is_a_setting():
    known = {name for service in Service for name in variables(service.settings_class())}
    known |= {name.rpartition("__")[0] for name in known if "__" in name}
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.*")):
        named = set(re.findall(r"\bXDSI_[A-Z0-9_]*[A-Z0-9]", page.read_text("utf-8")))
        assert named - known - _NO_NAMES == set(), page
