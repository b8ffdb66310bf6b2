"""The compose files: what they open and hand over; and two hospitals that share a study across containers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.settings.loading import variables
from xdsi.services import COMMUNITY, Service

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = DEPLOY / "compose"
FILES = ("compose.yaml", "compose.demo.yaml")
OTHERS = {"database", "prometheus", "grafana"}
#: Makes what the parties of the demo are given, and gives it away.
ROOT = {"prepare"}
PROMTOOL = shutil.which("promtool")
PODMAN_COMPOSE = shutil.which("podman-compose")
IMAGE = os.environ.get("IMAGE_NAME", "xdsi:0.1.0")
PERIOD = 45


def services(file: str) -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load((COMPOSE / file).read_text("utf-8"))["services"]
    return loaded


@pytest.mark.parametrize("file", FILES)
def test_our_containers_have_no_rights_and_bounds(file: str):
    for name, container in services(file).items():
        assert container["security_opt"] == ["no-new-privileges"], name
        assert container["mem_limit"], name
        if name != "database":
            assert container["read_only"] is True, name
            assert container["cap_drop"] == ["ALL"], name
        if name not in OTHERS:
            assert container["stop_grace_period"] == f"{PERIOD}s", name
        assert ("cap_add" in container) == (name in ROOT), name
        assert "privileged" not in container


def test_one_community_is_all_six_services_each_under_its_name_and_on_its_volume():
    given = services("compose.yaml")
    for service in COMMUNITY:
        container = given[service.value]
        assert container["command"] == [service.value]
        assert f"{service}:/var/lib/xdsi" in container["volumes"]
        assert container["environment"]["XDSI_PUBLIC_URL"].startswith(f"https://{service}:")


@pytest.mark.parametrize("file", FILES)
def test_what_the_services_are_given_are_settings(file: str):
    known = {name for service in Service for name in variables(service.settings_class())}
    given = {name for container in services(file).values() for name in container.get("environment", {})}
    assert {name for name in given if name.startswith("XDSI_")} <= known


@pytest.mark.parametrize("file", FILES)
def test_no_password_stands_in_a_file_and_secrets_go_to_whoever_needs_them(file: str):
    text = (COMPOSE / file).read_text("utf-8")
    assert not re.search(r"PASSWORD: |postgresql://[^$\s]*:[^$\s]*@", text)
    for name, container in services(file).items():
        asked = any("DATABASE_URL" in variable for variable in container.get("environment", {}))
        assert ("database-url" in container.get("secrets", [])) == asked, name


def test_an_object_store_beside_the_community_has_no_rights_and_its_keys_are_files():
    stored = services("compose.s3.yaml")
    for name in ("object-store", "bucket"):
        assert stored[name]["security_opt"] == ["no-new-privileges"]
        assert stored[name]["cap_drop"] == ["ALL"]
        assert stored[name]["read_only"] is True
        assert "ports" not in stored[name]
    for name in ("repository", "imaging-source"):
        known = set(variables(Service(name).settings_class()))
        environment = stored[name]["environment"]
        assert set(environment) <= known
        assert environment["XDSI_S3__ENDPOINT"].startswith("https://object-store:")
        # What stands in the file beside is not handed over twice.
        assert set(stored[name]["secrets"]) == {"database-url", "s3-access-key", "s3-secret-key"}
    text = (COMPOSE / "compose.s3.yaml").read_text("utf-8")
    assert "--host object-store" in (COMPOSE / "compose.yaml").read_text("utf-8")
    assert not re.search(r"(ACCESS_KEY|SECRET_KEY): ", text)


def test_the_key_of_the_authority_is_seen_by_no_service():
    for name, container in services("compose.yaml").items():
        seen = any(volume.startswith("authority:") for volume in container.get("volumes", []))
        assert seen == (name in {"authority", "tools"})


def test_the_dashboard_is_there_and_finds_prometheus():
    container = services("compose.yaml")["grafana"]
    mounts = {
        at: source for source, at, _ in (one.split(":") for one in container["volumes"] if ":ro" in one)
    }
    dashboards = (COMPOSE / mounts["/etc/grafana/provisioning"] / "dashboards/xdsi.yaml").read_text("utf-8")
    [provider] = yaml.safe_load(dashboards)["providers"]
    assert (COMPOSE / mounts[f"{provider['options']['path']}/xdsi.json"]).is_file()
    sources = (COMPOSE / mounts["/etc/grafana/provisioning"] / "datasources/prometheus.yaml").read_text(
        "utf-8"
    )
    [source] = yaml.safe_load(sources)["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert container["secrets"] == ["grafana-password"]


def test_secrets_are_made_once_and_by_chance(tmp_path: Path):
    made = []
    for folder in ("one", "two"):
        place = tmp_path / folder
        place.mkdir()
        script = shutil.copy(COMPOSE / "prepare.sh", place)
        for _ in range(2):
            subprocess.run([script], check=True)
            made.append((place / "secrets/database-password").read_text("utf-8"))
        assert (place / "secrets").stat().st_mode & 0o777 == 0o700
        assert made[-1] in (place / "secrets/database-url").read_text("utf-8")
    assert made[0] == made[1]
    assert made[2] == made[3]
    assert made[0] != made[2]
    assert len(made[0]) == 48


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (apt-get install prometheus)")
def test_prometheus_takes_what_it_is_given():
    assert PROMTOOL is not None
    for words in (
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "--syntax-only", "prometheus.yaml"),
    ):
        done = subprocess.run(
            [PROMTOOL, *words], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


# --- in containers -----------------------------------------------------------------------------------


def compose(*words: str, check: bool = True, file: str = "compose.demo.yaml") -> str:
    assert PODMAN_COMPOSE is not None
    done = subprocess.run(
        [PODMAN_COMPOSE, "-p", f"xdsi-test-{os.getpid()}", "-f", str(COMPOSE / file), *words],
        capture_output=True, text=True, check=False, env=os.environ | {"IMAGE_NAME": IMAGE},
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def ended(name: str) -> str:
    """What a container said that has ended well."""
    status = subprocess.run(["podman", "wait", name], capture_output=True, text=True, check=True).stdout
    logs = subprocess.run(["podman", "logs", name], capture_output=True, text=True, check=True)
    assert status.strip() == "0", logs.stdout + logs.stderr
    return logs.stdout + logs.stderr


def has_image() -> bool:
    if PODMAN_COMPOSE is None or shutil.which("podman") is None:
        return False
    exists = subprocess.run(["podman", "image", "exists", IMAGE], capture_output=True, check=False)
    return exists.returncode == 0


@pytest.mark.heavy
@pytest.mark.peer
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not has_image(), reason=f"no podman-compose with an image {IMAGE} (deploy/release.sh)")
def test_two_hospitals_share_a_study_across_containers():
    try:
        compose("up", "--detach")
        told = [ended(f"xdsi-test-{os.getpid()}_{who}_1") for who in ("publisher", "radiologist", "auditor")]
        assert "published" in told[0]
        assert "every byte equal by RAD-69 and WADO-RS; the clerk sees nothing" in told[1]
        assert "the demo held" in told[2]
    finally:
        compose("down", "--volumes", "--timeout", "45", check=False)
