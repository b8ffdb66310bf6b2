"""Messages kept as files: whole to their bound, for this user alone, never too many."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from shared.hl7v2.mllp import MllpListener, framed
from shared.http.pieces import FileRange
from shared.http.raw_asgi import receive_body, send_body, send_pieces
from shared.http.server import start_server
from shared.settings import ServiceSettings, SettingsError, TlsSettings
from shared.telemetry import wire
from tests.support.http_server import connected
from tests.support.logs import answered, log_lines


class Settings(ServiceSettings):
    service = "imaging_source"


def kept(folder: Any) -> list[Any]:
    return sorted(folder.rglob("*.*"))


async def exchange(app: Any, folder: Any, request: bytes) -> bytes:
    server = await start_server(app, Settings(wire_folder=folder, host_names=("a",)))
    try:
        async with connected(server.port) as client:
            await client.send(request)
            return (await client.answer()).body
    finally:
        await server.stop(grace_seconds=5)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = await receive_body(receive, limit=10_000_000)
    await send_body(send, status=200, headers=[(b"content-type", b"text/plain")], body=body)


async def test_a_request_and_its_answer_are_two_files_named_by_their_trace(tmp_path):
    with log_lines() as lines:
        await exchange(
            echo,
            tmp_path / "wire",
            b"POST /a%20b?c=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nxyz",
        )
    request, answer = kept(tmp_path / "wire")
    assert request.read_bytes() == (
        b"POST /a%20b?c=d HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nxyz"
    )
    head, _, body = answer.read_bytes().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/plain" in head
    assert body == b"xyz"
    (line,) = answered(lines)
    assert all(line["trace_id"] in path.name for path in (request, answer))


async def test_files_that_the_server_would_send_by_itself_are_kept_too(tmp_path):
    (tmp_path / "part").write_bytes(b"0123456789")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pieces = (FileRange(tmp_path / "part", 2, 5),)
        await send_pieces(scope, send, status=200, headers=[], pieces=pieces)

    came = await exchange(app, tmp_path / "wire", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert came == b"23456"
    assert kept(tmp_path / "wire")[1].read_bytes().endswith(b"\r\n\r\n23456")


async def test_they_are_for_this_user_alone(tmp_path):
    folder = tmp_path / "wire"
    folder.mkdir(mode=0o755)
    (folder / "imaging-source").mkdir(mode=0o777)
    await exchange(echo, folder, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    files = kept(folder)
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE((folder / "imaging-source").stat().st_mode) == 0o700


async def test_of_a_long_message_the_beginning_is_kept_and_its_rest_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "MAX_OCTETS", 1000)
    body = b"x" * 5000
    came = await exchange(
        echo, tmp_path, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n" + body
    )
    assert came == body
    for path in kept(tmp_path):
        assert path.stat().st_size < 1100
        assert path.read_bytes().endswith(b"further octets are left out]\n")


async def test_the_oldest_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "MAX_FILES", 6)
    for number in range(5):
        await exchange(echo, tmp_path, b"GET /%d HTTP/1.1\r\nHost: localhost\r\n\r\n" % number)
    first = [path.read_bytes()[:6] for path in kept(tmp_path) if "request" in path.name]
    assert first == [b"GET /2", b"GET /3", b"GET /4"]


async def test_a_folder_that_cannot_be_written_fails_no_request(tmp_path):
    (tmp_path / "wire").write_text("no folder")
    with log_lines() as lines:
        came = await exchange(
            echo, tmp_path / "wire", b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
        )
        assert came == b"x"
        assert any("XDSI_WIRE_FOLDER" in line["event"] for line in lines())


async def test_messages_of_the_feed_are_kept_as_they_were(tmp_path):
    async def answer(message: bytes, node: Any) -> bytes:
        return b"MSA|AA"

    listener = MllpListener(answer, refusal=lambda *_: b"", wire=wire.WireFolder(tmp_path, "registry"))
    await listener.start("127.0.0.1", 0)
    try:
        async with connected(listener.port) as client:
            await client.send(framed(b"MSH|1"))
            assert await client.reader.readuntil(b"\r") == framed(b"MSA|AA")
    finally:
        await listener.stop()
    assert [path.read_bytes() for path in kept(tmp_path)] == [b"MSH|1", b"MSA|AA"]


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "0.0.0.0"},
        {"host": "192.0.2.1"},
        {"tls": TlsSettings(certificate="c", key="k", trust="t")},
        {"public_url": "https://registry.hospital.example/xds"},
    ],
)
def test_where_others_can_come_it_is_refused_in_a_sentence(tmp_path, changes):
    problems = Settings(wire_folder=tmp_path, **changes).problems()
    (problem,) = [one for one in problems if one.startswith("XDSI_WIRE_FOLDER: ")]
    assert "loopback without TLS" in problem
    assert "remove it" in problem


async def test_no_server_begins_with_settings_that_refuse_it(tmp_path):
    settings = Settings(wire_folder=tmp_path, public_url="https://registry.hospital.example")
    with pytest.raises(SettingsError, match="XDSI_WIRE_FOLDER"):
        await start_server(echo, settings)


def test_on_loopback_without_tls_it_is_taken(tmp_path):
    assert Settings(wire_folder=tmp_path).problems() == []
    assert Settings(wire_folder=tmp_path, host="::1", public_url="http://localhost:1/").problems() == []
