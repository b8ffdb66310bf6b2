"""Secrets come from files and from systemd too, and nothing that shows settings shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from repository.settings import RepositorySettings
from shared.settings import SettingsError, is_secret, nested
from xdsi.mistakes import told
from xdsi.services import Service

URL = "postgresql://xdsi:geheim@db/xdsi"


def test_the_secrets_are_those_by_which_others_get_at_the_data():
    found = {
        f"{service}.{name}"
        for service in Service
        for name in service.settings_class().model_fields
        if is_secret(service.settings_class(), name)
    }
    assert {f"{service}.database_url" for service in Service} | {"repository.encryption_key_command"} == found


@pytest.mark.parametrize("value", [f"{URL}\n", URL, f"{URL}\r\n"])
def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path, value: str):
    (tmp_path / "url").write_bytes(value.encode())
    settings = RepositorySettings.load(environ={"XDSI_DATABASE_URL__FILE": str(tmp_path / "url")})
    assert settings.database_url == URL


def test_a_secret_of_a_group_and_a_list_are_read_from_files(tmp_path: Path):
    (tmp_path / "key").write_text("geheim")
    (tmp_path / "command").write_text('["kms", "print"]')
    settings = RepositorySettings.load(
        environ={
            "XDSI_S3__ACCESS_KEY": "xdsi",
            "XDSI_S3__SECRET_KEY__FILE": str(tmp_path / "key"),
            "XDSI_REPOSITORY__ENCRYPTION_KEY_COMMAND__FILE": str(tmp_path / "command"),
        }
    )
    assert settings.s3.secret_key == "geheim"
    assert settings.encryption_key_command == ("kms", "print")


def test_a_toml_file_names_the_file_of_a_secret_and_the_environment_wins(tmp_path: Path):
    (tmp_path / "url").write_text(URL)
    config = tmp_path / "xdsi.toml"
    config.write_text(f'database_url = {{file = "{tmp_path}/url"}}')
    assert RepositorySettings.load(config, {}).database_url == URL
    other = "sqlite:////srv/x.sqlite3"
    assert RepositorySettings.load(config, {"XDSI_DATABASE_URL": other}).database_url == other


def test_credentials_of_systemd_are_settings_and_the_environment_wins(tmp_path: Path):
    (tmp_path / "xdsi_database_url").write_text(URL)
    (tmp_path / "XDSI_S3__SECRET_KEY").write_text("geheim")
    (tmp_path / "xdsi_s3__access_key").write_text("xdsi")
    (tmp_path / "other").write_bytes(b"\xff")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "XDSI_S3__SECRET_KEY": "stronger"}
    settings = RepositorySettings.load(environ=environ)
    assert (settings.database_url, settings.s3.secret_key) == (URL, "stronger")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"[geheim"])
def test_a_file_without_a_secret_is_refused_by_the_name_of_its_setting(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "url").write_bytes(content)
    with pytest.raises(SettingsError, match=r"XDSI_DATABASE_URL__FILE: .*file") as wrong:
        RepositorySettings.load(environ={"XDSI_DATABASE_URL__FILE": str(tmp_path / "url")})
    assert "geheim" not in str(wrong.value)


def test_a_secret_and_its_file_together_are_refused():
    with pytest.raises(SettingsError, match="XDSI_DATABASE_URL__FILE: stands beside"):
        nested({"XDSI_DATABASE_URL": URL, "XDSI_DATABASE_URL__FILE": "x"})


def test_no_way_of_showing_settings_shows_a_secret():
    settings = RepositorySettings.load(
        environ={
            "XDSI_DATABASE_URL": URL,
            "XDSI_S3__ACCESS_KEY": "xdsi",
            "XDSI_S3__SECRET_KEY": "geheim",
            "XDSI_ENCRYPTION_KEY_COMMAND": '["print", "geheim"]',
        }
    )
    assert "geheim" not in f"{settings} {settings!r} {settings.s3} {settings.s3!r}"
    assert "***" in repr(settings)


@pytest.mark.parametrize("name", ["DATABASE_URL", "S3__SECRET_KEY", "ENCRYPTION_KEY_COMMAND"])
def test_no_error_about_a_secret_shows_it(name: str):
    wrong = '{"geheim": "geheim"}'
    with pytest.raises(SettingsError, match=f"XDSI_{name}") as refused:
        RepositorySettings.load(environ={f"XDSI_{name}": wrong})
    assert "geheim" not in str(refused.value)


def test_a_password_in_the_url_of_any_error_is_hidden():
    assert told(OSError(5, "no", f"{URL}?x=1")).startswith("postgresql://xdsi:***@db/xdsi?x=1: no")
