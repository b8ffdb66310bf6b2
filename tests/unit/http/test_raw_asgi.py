"""Raw ASGI endpoints on a server that knows none of our extensions."""

from __future__ import annotations

import httpx2
import pytest

from shared.http.raw_asgi import (
    BodyTooLarge,
    ClientGone,
    FileRange,
    FileTruncated,
    body_chunks,
    node_of,
    receive_body,
    send_body,
    send_pieces,
)


def receiving(*messages):
    coming = iter(messages)

    async def receive():
        return next(coming)

    return receive


def body(data: bytes, more: bool = False):
    return {"type": "http.request", "body": data, "more_body": more}


GONE = {"type": "http.disconnect"}


async def test_a_body_arrives_in_its_chunks_without_empty_ones():
    receive = receiving(body(b"ab", True), body(b"", True), body(b"c"))
    assert [chunk async for chunk in body_chunks(receive)] == [b"ab", b"c"]


async def test_a_body_that_ends_early_is_no_body():
    with pytest.raises(ClientGone):
        await receive_body(receiving(body(b"ab", True), GONE), limit=10)


async def test_a_body_is_received_up_to_its_limit():
    assert await receive_body(receiving(body(b"abc", True), body(b"de")), limit=5) == b"abcde"


async def test_a_body_beyond_its_limit_is_refused_before_all_of_it_has_come():
    receive = receiving(body(b"abc", True), body(b"def", True))
    with pytest.raises(BodyTooLarge, match="5 bytes"):
        await receive_body(receive, limit=5)


def test_without_tls_a_node_is_its_address():
    assert node_of({"client": ("192.0.2.1", 5)}).address == "192.0.2.1"
    assert node_of({"client": None}).subject == ""


def client_of(app) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test")


async def test_pieces_are_sent_by_ordinary_messages_where_nothing_better_is_offered(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789" * 100_000)

    async def app(scope, receive, send):
        pieces = [b"<", FileRange(path, 5, 999_990), b">"]
        await send_pieces(scope, send, status=206, headers=[(b"x-a", b"b")], pieces=pieces)

    async with client_of(app) as client:
        answer = await client.get("/")

    assert answer.status_code == 206
    assert answer.headers["x-a"] == "b"
    assert answer.headers["content-length"] == "999992"
    assert answer.content == b"<" + path.read_bytes()[5:999_995] + b">"


async def test_head_tells_the_length_alone(tmp_path):
    sent = []

    async def send(message):
        sent.append(message)

    pieces = [FileRange(tmp_path / "absent", 0, 10)]
    await send_pieces({"method": "HEAD"}, send, status=200, headers=[], pieces=pieces)

    assert sent[0]["headers"] == [(b"content-length", b"10")]
    assert sent[1:] == [{"type": "http.response.body", "body": b"", "more_body": False}]


async def test_an_offer_to_send_pieces_is_taken_after_the_head():
    sent = []

    async def send(message):
        sent.append(message["type"])

    async def take(pieces):
        sent.append(pieces)

    scope = {"method": "GET", "extensions": {"xdsi.pieces": take}}
    await send_pieces(scope, send, status=200, headers=[], pieces=[b"a", b"b"])

    assert sent == ["http.response.start", [b"a", b"b"]]


async def test_a_truncated_file_never_ends_in_a_complete_body(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"short")
    sent = []

    async def send(message):
        sent.append(message)

    with pytest.raises(FileTruncated):
        await send_pieces({"method": "GET"}, send, status=200, headers=[], pieces=[FileRange(path, 0, 6)])
    assert not any(message.get("more_body") is False for message in sent[1:])


async def test_a_small_answer_has_its_length():
    async def app(scope, receive, send):
        await send_body(send, status=409, headers=[(b"content-type", b"text/plain")], body=b"no")

    async with client_of(app) as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.headers["content-length"], answer.text) == (409, "2", "no")
