"""Units and installer of a host with systemd: what they close, and that an upgrade can be taken back."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from registry.settings import RegistrySettings
from shared.settings.loading import loaded
from shared.settings.sources import layers
from xdsi.services import COMMUNITY, Service

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
INSTALL = SYSTEMD / "install.sh"
MOST_EXPOSED = 2.0
#: Where the units of the system itself are.
SYSTEM_UNITS = Path("/lib/systemd/system")

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def a_wheel(folder: Path, version: str, program: str = "print('xdsi')") -> Path:
    """A wheel of that name and version with one command, which needs nothing."""
    folder.mkdir(exist_ok=True)
    wheel = folder / f"xdsi-{version}-py3-none-any.whl"
    info = f"xdsi-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("xdsi.py", f"def main():\n    {program}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: xdsi\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nxdsi = xdsi:main\n")
        archive.writestr(f"{info}/RECORD", "")
    (folder / "requirements.lock").write_text("# nothing\n", "utf-8")
    return wheel


def install(root: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(INSTALL), "--root", str(root), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def installed(root: Path, wheel: Path) -> None:
    done = install(root, wheel)
    assert done.returncode == 0, done.stderr


def current(root: Path) -> str:
    return (root / "opt/xdsi/current").resolve().name


@pytest.fixture
def settings_of_a_new_host(tmp_path: Path) -> Path:
    """The settings as they are installed, with their certificates below a folder of the test."""
    folder = tmp_path / "etc"
    (folder / "keys").mkdir(parents=True)
    for name in ("node.pem", "trust.pem", "keys/node.key"):
        (folder / name).touch()
    settings = folder / "xdsi.toml"
    text = (SYSTEMD / "xdsi.toml").read_text("utf-8")
    settings.write_text(text.replace("/etc/xdsi", str(folder)), "utf-8")
    return settings


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which a release was installed."""
    folder = tmp_path_factory.mktemp("host")
    installed(folder / "root", a_wheel(folder / "release", "9.1.0"))
    return folder / "root"


def test_an_installed_release_runs_and_is_current(host: Path):
    command = host / "opt/xdsi/current/bin/xdsi"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "xdsi\n"
    assert install(host, "--list").stdout == "9.1.0 current\n"


@needs_systemd
@pytest.mark.parametrize("service", Service)
def test_the_units_are_clean_and_show_little(host: Path, service: Service):
    units = host / "lib/systemd/system"
    if not units.exists():
        shutil.copytree(SYSTEM_UNITS, units, symlinks=True)
    unit = f"xdsi@{service}.service"
    verify = ["systemd-analyze", "verify", "--man=no", f"--root={host}", unit, "xdsi.target"]
    verified = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")

    instance = host / unit
    instance.write_bytes((SYSTEMD / "xdsi@.service").read_bytes())
    security = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(instance)]
    shown = subprocess.run(security, capture_output=True, text=True, check=False).stdout
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", shown)
    assert level, shown
    assert float(level[1]) <= MOST_EXPOSED


def test_every_service_is_started_with_the_target_and_has_a_folder_for_its_secrets():
    target = (SYSTEMD / "xdsi.target").read_text("utf-8")
    folders = (SYSTEMD / "tmpfiles.conf").read_text("utf-8")
    for service in COMMUNITY:
        assert f"xdsi@{service}.service" in target
        assert f"/etc/xdsi/credentials/{service} 0700 root" in folders


@pytest.mark.parametrize("service", Service)
def test_the_settings_of_a_new_host_are_settings_and_name_no_secret(
    settings_of_a_new_host: Path, service: Service
):
    found = loaded(service.settings_class(), layers(settings_of_a_new_host, {})).settings
    assert found.tls.check_host_names
    assert not {"database_url", "s3"} & set(tomllib.loads(settings_of_a_new_host.read_text("utf-8")))


def test_what_the_unit_hands_over_as_credentials_is_read_as_settings(
    settings_of_a_new_host: Path, tmp_path: Path
):
    """`LoadCredential=XDSI:FOLDER` names what is in it XDSI_…, and the key beside it is no setting."""
    handed = tmp_path / "credentials"
    handed.mkdir()
    (handed / "XDSI_DATABASE_URL").write_text("postgresql://db.example/xdsi\n", "utf-8")
    (handed / "node.key").write_text("a key", "utf-8")
    environ = {"CREDENTIALS_DIRECTORY": str(handed), "XDSI_TLS__KEY": str(handed / "node.key")}
    found = loaded(RegistrySettings, layers(settings_of_a_new_host, environ)).settings
    assert found.database_url is not None
    assert "db.example" in found.database_url
    assert found.tls.key == handed / "node.key"


def test_an_upgrade_can_be_taken_back_and_forth_and_keeps_settings(host: Path, tmp_path: Path):
    root = shutil.copytree(host, tmp_path / "root", symlinks=True)
    settings = root / "etc/xdsi/xdsi.toml"
    settings.write_text("host = '127.0.0.1'\n", "utf-8")
    installed(root, a_wheel(tmp_path / "new", "9.2.0"))
    assert install(root, "--list").stdout == "9.1.0 previous\n9.2.0 current\n"
    assert install(root, "--roll-back").returncode == 0
    assert install(root, "--list").stdout == "9.1.0 current\n9.2.0 previous\n"
    assert install(root, "--roll-back").returncode == 0
    assert current(root) == "9.2.0"
    assert settings.read_text("utf-8") == "host = '127.0.0.1'\n"


def test_a_release_that_does_not_run_leaves_the_current_one_current(host: Path, tmp_path: Path):
    root = shutil.copytree(host, tmp_path / "root", symlinks=True)
    done = install(root, a_wheel(tmp_path / "bad", "9.2.0", "raise SystemExit(1)"))
    assert done.returncode == 1
    assert "xdsi 9.2.0 does not run here" in done.stderr
    assert install(root, "--list").stdout == "9.1.0 current\n"
    installed(root, a_wheel(tmp_path / "mended", "9.2.0"))
    assert current(root) == "9.2.0"


def test_what_is_not_locked_by_a_hash_is_not_installed(tmp_path: Path):
    wheel = a_wheel(tmp_path / "release", "9.1.0")
    (wheel.parent / "requirements.lock").write_text("lxml\n", "utf-8")
    done = install(tmp_path / "root", wheel)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert not (tmp_path / "root/opt/xdsi/current").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "name a wheel"),
        (("gone-1.0.whl",), "gone-1.0.whl is no file"),
        ((__file__,), "is no wheel of xdsi"),
        (("--roll-back",), "no release was used before"),
        (("--forward",), "no option --forward"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path: Path, words: tuple[str, ...], told: str):
    done = install(tmp_path, *words)
    assert done.returncode == 1
    assert told in done.stderr
