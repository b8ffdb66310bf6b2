"""Whoever started a service is told when it is ready."""

from __future__ import annotations

import socket

import pytest

from xdsi.readiness import tell_ready


@pytest.mark.parametrize("abstract", [False, True])
def test_a_supervisor_that_waits_is_told(abstract, tmp_path, monkeypatch, capsys):
    name = f"xdsi-{tmp_path.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(f"\0{name}" if abstract else name)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}" if abstract else name)
        tell_ready("registry ready http://127.0.0.1:8010")
        assert supervisor.recv(100) == b"READY=1"
    assert capsys.readouterr().out == "registry ready http://127.0.0.1:8010\n"


def test_without_one_it_is_a_line(monkeypatch, capsys):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    tell_ready("registry ready http://127.0.0.1:8010")
    assert capsys.readouterr().out == "registry ready http://127.0.0.1:8010\n"
