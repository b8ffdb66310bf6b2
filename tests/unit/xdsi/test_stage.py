"""Ports that are free, and that stay apart from those of others."""

from __future__ import annotations

import socket

import pytest

from xdsi import stage


@pytest.fixture(autouse=True)
def the_ports_of_this_process_stay_as_they_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "_offered", stage._offered)


def test_a_port_that_was_given_is_not_given_again_before_all_others_were():
    stage.offer_ports(range(14_000, 14_020))

    given = [port for _ in range(10) for port in stage.free_ports(1)]

    assert len(set(given)) == len(given)
    assert set(given) < set(range(14_000, 14_020))


def test_a_port_on_which_somebody_listens_is_not_given():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        stage.offer_ports(range(port, port + 1))

        assert stage.free_ports(1) == []
