"""Settings: strongest source wins, all mistakes at once, each with its remedy."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from shared.settings import Default, ServiceSettings, SettingsError, XuaMode


class BoilerSettings(ServiceSettings):
    service: ClassVar[str] = "boiler"

    port: int = Field(8099, description="port")


def toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "xdsi.toml"
    path.write_text(text, "utf-8")
    return path


def pems(tmp_path: Path) -> dict[str, str]:
    found = {}
    for name in ("certificate", "key", "trust"):
        path = tmp_path / f"{name}.pem"
        path.touch()
        found[f"XDSI_TLS__{name.upper()}"] = str(path)
    return found


def test_everything_has_a_default():
    assert BoilerSettings.load(environ={}).port == 8099


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, 1),
        ({"XDSI_PORT": "3"}, 3),
        ({"XDSI_PORT": "3", "XDSI_BOILER__PORT": "4"}, 4),
        ({"XDSI_OVEN__PORT": "5"}, 1),
    ],
)
def test_the_strongest_source_wins(tmp_path: Path, environ: dict[str, str], expected: int):
    config = toml(tmp_path, "port = 2\n[boiler]\nport = 1\n")
    assert BoilerSettings.load(config, environ).port == expected


def test_groups_of_both_sources_are_merged(tmp_path: Path):
    config = toml(tmp_path, '[consent]\ndefault = "deny"\n')
    settings = BoilerSettings.load(config, {"XDSI_CONSENT__MAX_AGE_SECONDS": "3"})
    assert (settings.consent.default, settings.consent.max_age_seconds) == (Default.DENY, 3)


def test_lists_and_tables_in_the_environment_are_json():
    settings = BoilerSettings.load(
        environ={"XDSI_COMMUNITY_NODES": '["CN=a"]', "XDSI_ASSERTION__ISSUERS": '{"urn:i": "i.pem"}'}
    )
    assert settings.community_nodes == ("CN=a",)
    assert settings.assertion.issuers == {"urn:i": Path("i.pem")}


def test_all_mistakes_are_told_at_once():
    with pytest.raises(SettingsError) as wrong:
        BoilerSettings.load(
            environ={"XDSI_PORT": "many", "XDSI_XUA": "sometimes", "XDSI_CONSENT__MAX_AGE_SECONDS": "31"}
        )
    names = sorted(problem.partition(":")[0] for problem in wrong.value.problems)
    assert names == ["XDSI_CONSENT__MAX_AGE_SECONDS", "XDSI_PORT", "XDSI_XUA"]


def test_an_unknown_setting_of_a_group_is_a_mistake():
    with pytest.raises(SettingsError, match="XDSI_TLS__CERTIFICAT"):
        BoilerSettings.load(environ={"XDSI_TLS__CERTIFICAT": "a.pem"})


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::"])
def test_an_open_address_needs_tls(host: str, tmp_path: Path):
    with pytest.raises(SettingsError, match="XDSI_HOST"):
        BoilerSettings.load(environ={"XDSI_HOST": host})
    assert BoilerSettings.load(environ={"XDSI_HOST": host, **pems(tmp_path)}).host == host


def test_assertions_are_off_on_loopback_alone(tmp_path: Path):
    assert BoilerSettings.load(environ={"XDSI_XUA": "off"}).xua_mode is XuaMode.OFF
    with pytest.raises(SettingsError, match="XDSI_XUA"):
        BoilerSettings.load(environ={"XDSI_XUA": "off", "XDSI_HOST": "0.0.0.0", **pems(tmp_path)})


def test_tls_closes_what_is_open_without_it(tmp_path: Path):
    plain, closed = BoilerSettings.load(environ={}), BoilerSettings.load(environ=pems(tmp_path))
    assert (plain.xua_mode, plain.consent_default) == (XuaMode.OPTIONAL, Default.PERMIT)
    assert (closed.xua_mode, closed.consent_default) == (XuaMode.REQUIRED, Default.DENY)


def test_a_certificate_without_key_and_trust_is_refused(tmp_path: Path):
    given = {"XDSI_TLS__CERTIFICATE": pems(tmp_path)["XDSI_TLS__CERTIFICATE"]}
    with pytest.raises(SettingsError, match="XDSI_TLS__KEY and XDSI_TLS__TRUST"):
        BoilerSettings.load(environ=given)


def test_a_missing_file_is_named(tmp_path: Path):
    given = pems(tmp_path) | {"XDSI_TLS__KEY": str(tmp_path / "absent.pem")}
    with pytest.raises(SettingsError, match=r"XDSI_TLS__KEY: .*absent\.pem is not a file"):
        BoilerSettings.load(environ=given)
