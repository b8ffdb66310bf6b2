"""A name that is no setting is refused, and the one that is probably meant is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.settings import SettingsError
from xdsi.configuration import load
from xdsi.services import Service


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch):
    import os

    for name in [name for name in os.environ if name.upper().startswith("XDSI_")]:
        monkeypatch.delenv(name)
    return lambda **given: [monkeypatch.setenv(name, value) for name, value in given.items()]


def refused(service: Service, config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as wrong:
        load(service.settings_class(), config)
    return str(wrong.value)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("XDSI_REGSITRY_URL", "XDSI_REGISTRY_URL"),
        ("XDSI_REGISTRY__QERY_LIMIT", "XDSI_REGISTRY__QUERY_LIMIT"),
        ("XDSI_TLS__CERTIFICAT", "XDSI_TLS__CERTIFICATE"),
        ("XDSI_TLS_CERTIFICATE", "XDSI_TLS__CERTIFICATE"),
        ("XDSI_REGISTRY__TLS__KEI", "XDSI_REGISTRY__TLS__KEY"),
        ("XDSI_REGISTRY__URL", "XDSI_REGISTRY_URL"),
        ("XDSI_REGISTY__PORT", "XDSI_REGISTRY__PORT"),
        ("XDSI_DICOMWEB_PEER", "XDSI_DICOMWEB_PEERS"),
        ("XDSI_DATABASE_URL_FILE", "XDSI_DATABASE_URL__FILE"),
        ("XDSI_HOME_COMUNITY_ID", "XDSI_HOME_COMMUNITY_ID"),
    ],
)
def test_a_mistyped_variable_is_refused_with_what_is_probably_meant(environ, wrong: str, meant: str):
    environ(**{wrong: "1"})
    assert f"{wrong}: is no setting; did you mean {meant}?" in refused(Service.REGISTRY).splitlines()


def test_a_variable_that_looks_like_none_is_refused_with_where_they_are_listed(environ):
    environ(XDSI_QQQQ="1")
    assert refused(Service.REGISTRY) == "XDSI_QQQQ: is no setting; docs/settings.md lists them"


def test_a_variable_whose_prefix_is_mistyped_is_refused(environ):
    environ(XSDI_PORT="1", XDS_PORT="1", SIX_D="1")
    assert refused(Service.REGISTRY) == "XSDI_PORT: is no setting; did you mean XDSI_PORT?"


def test_a_variable_in_small_letters_is_refused(environ):
    environ(xdsi_port="1")
    assert refused(Service.REGISTRY) == "xdsi_port: is no setting; write it in capitals, XDSI_PORT"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prot = 1", "XDSI_PROT: is no setting (in {0}); did you mean XDSI_PORT?"),
        ("[tls]\nkee = 'x'", "XDSI_TLS__KEE: is no setting (in {0}); did you mean XDSI_TLS__KEY?"),
        (
            "[registry]\nprot = 1",
            "XDSI_REGISTRY__PROT: is no setting (in {0}); did you mean XDSI_REGISTRY__PORT?",
        ),
        (
            "[regist]\nport = 1",
            "XDSI_REGIST__PORT: is no setting (in {0}); did you mean XDSI_REGISTRY__PORT?",
        ),
        ("gateway = 1", "XDSI_GATEWAY: is no setting but a table of them"),
    ],
)
def test_a_mistyped_key_or_table_of_a_file_is_refused(environ, tmp_path: Path, text: str, told: str):
    config = tmp_path / "xdsi.toml"
    config.write_text(text)
    assert told.format(config) in refused(Service.REGISTRY, config).splitlines()


def test_a_mistyped_credential_is_refused(environ, tmp_path: Path):
    (tmp_path / "xdsi_databse_url").write_text("postgresql://db/xdsi")
    environ(CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "XDSI_DATABSE_URL: is no setting" in refused(Service.REGISTRY)


@pytest.mark.parametrize("service", Service)
def test_what_another_service_knows_is_no_mistake(environ, service: Service):
    environ(
        XDSI_DICOMWEB_PEERS='["http://127.0.0.1:1"]',
        XDSI_AE_TITLE="PACS",
        XDSI_QUERY_LIMIT="9",
        XDSI_RELAYS="3",
        XDSI_UDP="true",
        XDSI_S3__REGION="x",
        XDSI_PUBLISHING__LANGUAGE="de",
        XDSI_GATEWAY__PORT="9",
        XDSI_REPOSITORY__S3__REGION="x",
        XDSI_REGISTRY__WORKERS="1",
    )
    load(service.settings_class())


def test_unknown_names_are_told_beside_wrong_values(environ):
    environ(XDSI_PROT="1", XDSI_REGISTRY__PORT="many")
    told = refused(Service.REGISTRY)
    assert "XDSI_PROT: is no setting" in told
    assert "XDSI_REGISTRY__PORT: 'many' is no whole number" in told
