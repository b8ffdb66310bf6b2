"""What `deploy/ha/prepare.sh` writes for the hosts, and what it refuses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from shared.settings.loading import variables
from tests.support.hosts import Daemon, hosts, impossible
from tests.support.patroni import DEPLOY, wait_until
from xdsi.certificates import create_community
from xdsi.services import Service

ROOT = Path(__file__).parents[2]
ADDRESSES = (
    "n1=192.0.2.1",
    "n2=192.0.2.2",
    "n3=192.0.2.3",
    "a=192.0.2.4",
    "b=192.0.2.5",
    "services=192.0.2.10",
)

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def prepare(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [DEPLOY / "prepare.sh", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    done = prepare(tmp_path, *ADDRESSES)
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path / "hosts"


def test_every_place_is_filled_and_nobody_else_reads_it(made: Path):
    files = [path for path in made.rglob("*") if path.is_file()]
    assert len(files) > 15
    for path in files:
        assert not re.search(r"@[A-Z0-9_]+@", path.read_text("utf-8")), path
        assert path.stat().st_mode & 0o077 == 0, path


def test_passwords_are_made_once_and_by_chance(made: Path, tmp_path: Path):
    names = ("superuser", "replication", "restapi", "services")
    first = {name: (made / f"{name}.password").read_text("utf-8") for name in names}
    assert prepare(tmp_path, *ADDRESSES).returncode == 0
    again = {name: (made / f"{name}.password").read_text("utf-8") for name in names}
    assert first == again
    assert len(set(first.values())) == len(names)
    assert all(len(password) == 48 for password in first.values())
    assert first["services"] in (made / "a" / "DATABASE_URL").read_text("utf-8")


def test_a_node_lets_in_the_nodes_and_the_services_over_tls_alone(made: Path):
    patroni = yaml.safe_load((made / "n1" / "config.yml").read_text("utf-8"))
    rules = [rule for rule in patroni["postgresql"]["pg_hba"] if not rule.startswith("local ")]
    assert all(rule.startswith("hostssl ") and rule.endswith("/32 scram-sha-256") for rule in rules)
    services = {rule.split()[3] for rule in rules if rule.split()[1:3] == ["xdsi", "xdsi"]}
    assert services == {"192.0.2.4/32", "192.0.2.5/32"}
    assert patroni["bootstrap"]["dcs"]["synchronous_mode_strict"] is True
    lease = patroni["bootstrap"]["dcs"]
    assert lease["ttl"] >= lease["loop_wait"] + 2 * lease["retry_timeout"]


def test_both_balancers_have_the_same_and_ask_for_life_with_a_certificate(made: Path):
    texts = [(made / name / "haproxy.cfg").read_text("utf-8").partition("\n")[2] for name in "ab"]
    assert texts[0] == texts[1]
    services = texts[0].partition("\ndefaults services")[2]
    assert "uri /health/live" in services
    assert "check-ssl verify required" in services
    assert "/health/ready" not in texts[0]
    assert "ssl crt" not in texts[0], "TLS passes through"


FAILS_CHECKS = """
import sys
from shared.http.raw_asgi import send_body
from shared.http.server import run_service
from shared.settings import ServiceSettings, TlsSettings

host, proxy, certificate, key, trust = sys.argv[1:]
tls = TlsSettings(certificate=certificate, key=key, trust=trust)

class Service:
    async def asgi(self, scope, receive, send):
        status = 503 if scope["path"].startswith("/health") else 200
        await send_body(send, status=status, headers=[], body=b"done")
    async def start(self):
        pass
    async def stop(self):
        pass

async def build():
    return Service()

run_service(build, ServiceSettings(host=host, port=8010, tls=tls, proxies=(f"{proxy}/32",)),
            on_ready=lambda port: print("ready", flush=True))
"""


def wait_for(log: Path, words: str) -> None:
    """Wait until a log has these words."""
    wait_until(lambda: words in log.read_text("utf-8"), 60, lambda: log.read_text("utf-8"))


@pytest.mark.heavy
@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_while_one_host_restarts_the_other_is_asked_though_it_misses_its_checks(tmp_path: Path):
    """Busy as it is then, a handshake of a check may take too long; what is asked for is done even so."""
    if reason := impossible():
        pytest.skip(reason)
    nodes = [f"{name}=127.0.0.1" for name in ("n1", "n2", "n3")]
    assert prepare(tmp_path, *nodes, "a=127.0.0.2", "b=127.0.0.3", "services=127.0.0.9").returncode == 0
    community = create_community(tmp_path / "made", "Community", hosts=["127.0.0.3", "127.0.0.9"])
    node = (community.node.certificate, community.node.key, community.trust)
    (tmp_path / "haproxy.pem").write_bytes(node[0].read_bytes() + node[1].read_bytes())
    shutil.copy(community.trust, tmp_path / "trust.pem")
    balancer = tmp_path / "hosts" / "a" / "haproxy.cfg"
    balancer.write_text(balancer.read_text("utf-8").replace("/etc/xdsi/", f"{tmp_path}/"), "utf-8")
    log = tmp_path / "haproxy.log"
    with ExitStack() as stack:
        host = stack.enter_context(hosts("one"))["one"]
        service = (sys.executable, "-c", FAILS_CHECKS, "127.0.0.3", "127.0.0.9", *node)
        for words, its_log, awaited in (
            (service, tmp_path / "service.log", "ready"),
            (("haproxy", "-db", "-f", balancer), log, "registry/b is DOWN, reason: Layer7 wrong status"),
        ):
            daemon = Daemon(host, words, its_log, environment={"PYTHONPATH": str(ROOT)})
            stack.callback(daemon.kill)
            daemon.start()
            wait_for(its_log, awaited)
        certificate, key, trust = node
        shown = ("--cacert", trust, "--cert", certificate, "--key", key)
        ask = host.command("curl", "--silent", "--show-error", *shown, "https://127.0.0.9:8010/")
        for _ in range(4):
            done = subprocess.run(ask, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (0, "done"), done.stderr


@pytest.mark.parametrize("name", ["a", "b"])
def test_what_services_are_told_are_settings(made: Path, name: str):
    told = tomllib.loads((made / name / "xdsi.toml").read_text("utf-8"))
    known = {name.lower() for service in Service for name in variables(service.settings_class())}
    tables = {service.package for service in Service}
    for setting, value in told.items():
        paths = [f"{setting}__{inner}" for inner in value] if isinstance(value, dict) else [setting]
        assert setting in tables or {f"xdsi_{path}" for path in paths} <= known, setting


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (ADDRESSES[1:], "n1 has no address; write n1=10.0.0.1"),
        ((*ADDRESSES, "c=192.0.2.6"), "c=192.0.2.6 is not known"),
        ((*ADDRESSES, "n1="), "n1= is not known"),
    ],
)
def test_what_is_missing_or_too_much_is_said_and_nothing_is_written(
    tmp_path: Path, words: tuple[str, ...], said: str
):
    done = prepare(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "hosts").exists()
