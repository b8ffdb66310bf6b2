"""`xdsi record`: what passes is told with its findings; what it cannot do is refused."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from conformance.envelopes import SIMPLE, Envelope
from conformance.plans.metadata import QUERY, query_body
from conformance.simulators.scripts import Cast
from conformance.simulators.server import http_simulator
from conformance.simulators.world import World
from xdsi.cli import build


@pytest.mark.parametrize(
    ("listen", "target", "says"),
    [
        ("http://0.0.0.0:0", "http://127.0.0.1:1", "listen on loopback, or with TLS"),
        ("https://127.0.0.1:0", "http://127.0.0.1:1", "--certificate"),
        ("http://127.0.0.1:0", "mllp://127.0.0.1:1", "another protocol"),
        ("ftp://127.0.0.1:0", "http://127.0.0.1:1", "http, https, mllp"),
        ("http://127.0.0.1:0", "http://127.0.0.1:1/xds", "scheme://host:port"),
    ],
)
def test_what_cannot_be_recorded_is_refused_with_what_would_be_right(
    listen: str, target: str, says: str, tmp_path: Path
):
    arguments = ["record", "--listen", listen, "--target", target, "--out", str(tmp_path / "wire")]
    ran = CliRunner().invoke(build("record"), arguments)

    assert says in str(ran.exception)
    assert not (tmp_path / "wire").exists()


def test_findings_are_printed_as_exchanges_pass(tmp_path: Path):
    query = Envelope(action=QUERY, body=query_body("urn:uuid:2.999", {})).xml()
    with http_simulator(Cast(World(domain="1.2.3"), {"registry": "no-relates-to"}).handle) as simulator:
        command = [sys.executable, "-m", "xdsi", "record", "--listen", "http://127.0.0.1:0"]
        command += ["--target", simulator.url, "--out", str(tmp_path / "wire")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = re.search(r"port (\d+) leads to", process.stdout.readline())
            assert port is not None
            url = f"http://127.0.0.1:{port[1]}/xds/registry"
            httpx2.post(url, content=query, headers={"Content-Type": SIMPLE}, trust_env=False)
            title = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            rest = process.stdout.read()

    assert "000001.http" in title
    assert "ERROR" in rest
    assert "RelatesTo" in rest
