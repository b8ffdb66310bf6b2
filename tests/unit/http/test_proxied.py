"""The header of the PROXY protocol: what a proxy writes is read as it was meant, and nothing else is."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http import proxied
from shared.http.proxied import Entrance, HeaderError, Peer, client_of, length_of
from shared.security.caller import Node
from shared.security.rights import Rights
from shared.settings import ServiceSettings, SettingsError
from tests.support.proxy_protocol import LOCAL, SIGNATURE, UNKNOWN, a_binary, a_line, binary, tcp

PORTS = st.integers(0, 65_535)
BOTH_PORTS = st.tuples(PORTS, PORTS)
FAMILIES = st.sampled_from((st.ip_addresses(v=4), st.ip_addresses(v=6)))
ADDRESSES = FAMILIES.flatmap(lambda family: st.tuples(family, family))
PROXY = Peer("127.0.0.1", 1)


def read(octets: bytes) -> tuple[str, int] | None:
    """As it is read off a stream: all that belongs to it is there."""
    length = length_of(octets)
    assert length is not None
    return client_of(octets[:length])


def shown(address: IPv4Address | IPv6Address) -> str:
    return str(getattr(address, "ipv4_mapped", None) or address)


@given(ADDRESSES, BOTH_PORTS, st.binary(max_size=50))
def test_a_line_names_the_client_whatever_follows(addresses, ports, rest):
    source, target = addresses
    line = a_line(str(source), str(target), ports)

    assert read(line + rest) == (shown(source), ports[0])
    assert length_of(line + rest) == len(line)


@given(ADDRESSES, BOTH_PORTS, st.binary(max_size=400), st.binary(max_size=50))
def test_a_binary_header_names_the_client_whatever_else_it_says(addresses, ports, tlvs, rest):
    header = tcp(*addresses, ports, tlvs)

    assert read(header + rest) == (shown(addresses[0]), ports[0])
    assert length_of(header + rest) == len(header)


@given(st.sampled_from((a_line("192.0.2.7"), a_binary("192.0.2.7"), UNKNOWN, LOCAL)), st.data())
def test_the_end_of_a_header_is_known_when_it_has_come_and_never_wrongly(header, data):
    some = header[: data.draw(st.integers(0, len(header) - 1))]
    assert length_of(some) in (None, len(header))


@given(st.binary(max_size=600))
def test_whatever_comes_is_a_header_or_refused(octets):
    for beginning in (octets, SIGNATURE + octets, b"PROXY " + octets):
        try:
            length = length_of(beginning)
            if length is not None and length <= len(beginning):
                client = client_of(beginning[:length])
                assert client is None or ip_address(client[0])
        except HeaderError:
            continue


@pytest.mark.parametrize("header", [LOCAL, UNKNOWN, b"PROXY UNKNOWN ffff::1 of no meaning\r\n"])
def test_a_proxy_may_call_for_itself(header: bytes):
    assert read(header) is None


@pytest.mark.parametrize("block", [b"", bytes(216)])
@pytest.mark.parametrize("family", [0x00, 0x11, 0x21, 0x31, 0x12])
def test_what_a_proxy_that_calls_for_itself_says_of_addresses_is_nothing(family: int, block: bytes):
    assert read(binary(0, family, block)) is None


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443 9\r\n",
        b"PROXY TCP4  192.0.2.7 127.0.0.1 4711 443\r\n",
        b"PROXY TCP4 ::1 ::1 4711 443\r\n",
        b"PROXY TCP6 192.0.2.7 127.0.0.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.07 127.0.0.1 4711 443\r\n",
        b"PROXY TCP4 host.example 127.0.0.1 4711 443\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 65536 443\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 -1 443\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 047 443\r\n",
        b"PROXY TCP4 192.0.2.\xff 127.0.0.1 1 443\r\n",
        b"PROXY UDP4 192.0.2.7 127.0.0.1 1 443\r\n",
        b"PROXY \r\n",
        b"PROXY UNKNOWN" + b" " * 93 + b"\r\n",
        b"proxy TCP4 192.0.2.7 127.0.0.1 1 443\r\n",
        SIGNATURE.replace(b"QUIT", b"QUIZ") + b"\x21\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x11\x11\x00\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\x00\x0c" + bytes(12),
        binary(1, 0x11, bytes(11)),
        binary(1, 0x21, bytes(35)),
        binary(1, 0x31, bytes(215)),
        binary(1, 0x12, bytes(12)),
        binary(1, 0x01, bytes(12)),
        binary(1, 0x41, bytes(300)),
        binary(1, 0x11, bytes(521)),
    ],
)
def test_what_is_no_header_is_refused(header: bytes):
    with pytest.raises(HeaderError):
        read(header)


@pytest.mark.parametrize("longest", [b"PROXY UNKNOWN" + b" " * 92 + b"\r\n", binary(1, 0x11, bytes(520))])
def test_the_longest_header_is_read(longest: bytes):
    assert len(longest) in (proxied.LONGEST_LINE, proxied.LONGEST_BINARY)
    read(longest)


# --- read off a socket ---------------------------------------------------------------------------------


async def entered(entrance: Entrance, *pieces: bytes, ends: bool = False) -> tuple[Peer | None, bytes]:
    """Who calls, when a proxy sends `pieces` one after the other, and what is left for who comes next."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        assert entrance.admit(PROXY.address)
        calling = asyncio.ensure_future(entrance.client(ours, PROXY))
        for piece in pieces:
            theirs.sendall(piece)
            await asyncio.sleep(0.002)
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        client = await calling
        return client, b"" if client is None else ours.recv(1_000)


def an_entrance(**limits: int) -> Entrance:
    return Entrance(["127.0.0.1/32"], **{"connections": 10, "per_peer": 2} | limits)


@pytest.mark.parametrize("header", [a_line("192.0.2.7"), a_binary("192.0.2.7")])
@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_of_a_header_in_pieces_all_is_taken_and_of_what_follows_nothing(header: bytes, size: int):
    sent = header + b"\x16\x03\x01 hello"
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]

    client, left = await entered(an_entrance(), *pieces)

    assert client == Peer("192.0.2.7", 4711)
    assert b"\x16\x03\x01 hello".startswith(left)
    assert left


@pytest.mark.parametrize("header", [a_line("192.0.2.7"), a_binary("192.0.2.7")])
async def test_a_header_that_is_cut_off_is_refused_and_its_place_is_free(header: bytes):
    entrance = an_entrance(connections=1)
    for length in range(len(header)):
        assert await entered(entrance, header[:length], ends=True) == (None, b"")
        assert entrance.open == 0


async def test_a_header_that_does_not_come_is_not_waited_for_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(proxied, "HEADER_SECONDS", 0.05)
    entrance = an_entrance()

    assert await entered(entrance, b"PROXY TC") == (None, b"")
    assert entrance.open == 0


async def test_a_thread_reads_as_the_loop_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proxied, "HEADER_SECONDS", 0.05)
    entrance = an_entrance()
    found = []
    for sent in (a_line("192.0.2.7") + b"rest", a_binary("192.0.2.8") + b"rest", b"PROXY", b"GET / HTTP"):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert entrance.admit(PROXY.address)
            theirs.sendall(sent)
            client = await asyncio.to_thread(entrance.client_in_thread, ours, PROXY)
            found.append((client and client.address, b"" if client is None else ours.recv(100)))

    assert found == [("192.0.2.7", b"rest"), ("192.0.2.8", b"rest"), (None, b""), (None, b"")]
    assert entrance.open == 2


async def test_of_any_other_address_nothing_is_read():
    entrance = an_entrance()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert entrance.admit("192.0.2.9")
        theirs.sendall(a_line("10.0.0.1"))
        assert await entrance.client(ours, Peer("192.0.2.9", 5)) == Peer("192.0.2.9", 5)
        assert ours.recv(100) == a_line("10.0.0.1")


async def test_each_client_has_its_share_however_many_call_by_one_proxy():
    entrance = an_entrance(connections=6, per_peer=2)
    named = [
        (await entered(entrance, a_line(client) + b"."))[0] for client in ("192.0.2.1",) * 4 + ("192.0.2.2",)
    ]

    assert [peer is not None for peer in named] == [True, True, False, False, True]
    assert entrance.open == 3
    entrance.leave("192.0.2.1")
    assert (await entered(entrance, a_line("192.0.2.1") + b"."))[0] is not None


async def test_nobody_is_of_this_machine_because_a_proxy_is():
    rights = Rights(ServiceSettings())
    ours = {}
    for header in (a_line("192.0.2.7"), a_binary("2001:db8::7"), LOCAL, UNKNOWN, binary(1, 0x31, bytes(216))):
        client, _ = await entered(an_entrance(), header + b".")
        assert client is not None
        ours[header] = rights.community(Node(address=client.address, relayed=client.relayed))

    assert ours == dict.fromkeys(ours, False)
    assert rights.community(Node(address="127.0.0.1"))


# --- settings ------------------------------------------------------------------------------------------


def test_proxies_are_addresses_and_networks():
    settings = ServiceSettings.load(environ={"XDSI_PROXIES": '["10.0.0.7", "10.1.2.3/16", "2001:db8::/64"]'})
    assert settings.proxies == ("10.0.0.7/32", "10.1.0.0/16", "2001:db8::/64")


@pytest.mark.parametrize("text", ["haproxy.example", "10.0.0.0/33", "", "10.0.0.7:443"])
def test_what_is_no_address_is_told(text: str):
    with pytest.raises(SettingsError, match=r"XDSI_PROXIES.*write 10\.0\.0\.7"):
        ServiceSettings.load(environ={"XDSI_PROXIES": f'["{text}"]'})


@pytest.mark.parametrize("url", ["http://xds.hospital.example/", "https://10.0.0.5:8010"])
def test_what_others_call_from_elsewhere_is_not_served_without_tls(url: str):
    with pytest.raises(
        SettingsError, match=r"XDSI_PUBLIC_URL: .* TLS is not set up: .*set XDSI_TLS__CERTIFICATE"
    ):
        ServiceSettings.load(environ={"XDSI_PUBLIC_URL": url})


@pytest.mark.parametrize("url", ["http://localhost:8010", "http://127.0.0.1:1/", "http://[::1]:8010/x"])
def test_what_is_called_from_here_is(url: str):
    assert ServiceSettings.load(environ={"XDSI_PUBLIC_URL": url}).public_url == url
