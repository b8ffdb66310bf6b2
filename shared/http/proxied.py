"""The PROXY protocol, versions 1 and 2: a proxy says in front of all else for whom it calls.

It is HAProxy's (proxy-protocol.txt 2.1 and 2.2), and other proxies speak it too.

Only a proxy whose address is named is heard, and it must speak; what any other peer sends is never read so.
The header stands before TLS. Of it exactly its own octets are taken, so that the handshake finds its own.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, NamedTuple

from shared.attempts import attempted
from shared.http.limits import Admission
from shared.telemetry.log import logger

HEADER_SECONDS: Final = 5.0
#: A line of version 1 with its end; a header of version 2 with addresses and TLVs.
LONGEST_LINE: Final = 107
LONGEST_BINARY: Final = 536

_LINE: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_BINARY: Final = struct.Struct("!12sBBH")
_LOCAL, _PROXY = 0x20, 0x21
_NO_ADDRESSES: Final = {b"UNKNOWN"}
_OF_LINE: Final[Mapping[bytes, type[IPv4Address] | type[IPv6Address]]] = {
    b"TCP4": IPv4Address,
    b"TCP6": IPv6Address,
}
# Address family and transport: of these, one end of a stream without an address, and how long both ends are.
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_LENGTHS: Final = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}

_log = logger(__name__)


class HeaderError(Exception):
    """What came is no header of the PROXY protocol; the text says why."""


class Peer(NamedTuple):
    """Who calls: the peer of the socket, or the client that a proxy named.

    `relayed` when a proxy called and named nobody: the address is the proxy's own, and proves nothing about
    who speaks. Who is not `admitted` has too many connections already.
    """

    address: str
    port: int
    relayed: bool = False
    admitted: bool = True


# --- the header --------------------------------------------------------------------------------------


def length_of(beginning: bytes) -> int | None:
    """How long the header that begins so is; None while that cannot be said.

    Raises
    ------
    HeaderError
        No header begins so, or it is too long.
    """
    if beginning.startswith(_LINE[: len(beginning)]):
        return _length_of_line(beginning)
    if not beginning.startswith(_SIGNATURE[: len(beginning)]):
        raise HeaderError("what came first is no header of the PROXY protocol")
    if len(beginning) < _BINARY.size:
        return None
    length = _BINARY.size + int(_BINARY.unpack_from(beginning)[3])
    if length > LONGEST_BINARY:
        raise HeaderError(f"a header has at most {LONGEST_BINARY} octets")
    return length


def _length_of_line(beginning: bytes) -> int | None:
    end = beginning.find(b"\r\n", 0, LONGEST_LINE)
    if end < 0 and len(beginning) >= LONGEST_LINE:
        raise HeaderError(f"a line has at most {LONGEST_LINE} octets")
    return None if end < 0 else end + 2


def client_of(header: bytes) -> tuple[str, int] | None:
    """Address and port of the client that a whole header names; None when it names none.

    Raises
    ------
    HeaderError
        It is no header.
    """
    return _of_binary(header) if header.startswith(_SIGNATURE) else _of_line(header)


def _of_line(header: bytes) -> tuple[str, int] | None:
    words = header.removesuffix(b"\r\n").split(b" ")
    if len(words) > 1 and words[1] in _NO_ADDRESSES:
        return None
    if len(words) != 6 or words[1] not in _OF_LINE:
        raise HeaderError("a line names TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    family = _OF_LINE[words[1]]
    try:
        client, _ = (family(word.decode("ascii")) for word in words[2:4])
    except ValueError:
        raise HeaderError("an address is none of the family that the line names") from None
    port, _ = map(_port, words[4:])
    return _named(client), port


def _port(word: bytes) -> int:
    if not word.isdigit() or (port := int(word)) > 65_535 or str(port).encode() != word:
        raise HeaderError("a port is a number up to 65535")
    return port


def _of_binary(header: bytes) -> tuple[str, int] | None:
    _, command, family, length = _BINARY.unpack_from(header)
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise HeaderError("a header has version 2, and the command LOCAL or PROXY")
    if family not in _LENGTHS:
        raise HeaderError("a header names a family of addresses that is none of a stream")
    if length < _LENGTHS[family]:
        raise HeaderError("a header is too short for the addresses of its family")
    if family == _TCP4:
        client, _, port, _ = struct.unpack_from("!4s4sHH", header, _BINARY.size)
    elif family == _TCP6:
        client, _, port, _ = struct.unpack_from("!16s16sHH", header, _BINARY.size)
    else:
        return None
    return _named(ip_address(client)), port


def _named(address: IPv4Address | IPv6Address) -> str:
    """As a socket would tell it."""
    return str(getattr(address, "ipv4_mapped", None) or address)


# --- reading it --------------------------------------------------------------------------------------


def _take(connection: socket.socket, header: bytearray) -> bool:
    """Add to `header` what has come of it, and nothing of what follows; whether it is whole."""
    octets = connection.recv(LONGEST_BINARY - len(header), socket.MSG_PEEK)
    if not octets:
        raise HeaderError("the connection ended before its header")
    length = length_of(bytes(header + octets))
    header += connection.recv(len(octets) if length is None else min(len(octets), length - len(header)))
    return length == len(header)


async def _read(connection: socket.socket) -> bytes:
    header = bytearray()
    async with asyncio.timeout(HEADER_SECONDS):
        while True:
            try:
                if _take(connection, header):
                    return bytes(header)
            except BlockingIOError:
                await _readable(connection)


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _wake, readable)
    try:
        await readable
    finally:
        loop.remove_reader(connection)


def _wake(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _read_in_thread(connection: socket.socket) -> bytes:
    header = bytearray()
    until = time.monotonic() + HEADER_SECONDS
    while True:
        connection.settimeout(max(0.001, until - time.monotonic()))
        if _take(connection, header):
            return bytes(header)
        if time.monotonic() >= until:
            raise TimeoutError


# --- the door ----------------------------------------------------------------------------------------


class Entrance(Admission):
    """Counts the open connections of one listener, each for who calls; any thread may use it.

    Parameters
    ----------
    proxies
        Addresses and networks whose connections begin with a header of the PROXY protocol. Until it has come
        they count in all alone; then for the client that it names.
    """

    def __init__(self, proxies: Iterable[str] = (), *, connections: int, per_peer: int) -> None:
        super().__init__(connections=connections, per_peer=per_peer)
        self._proxies = [ip_network(proxy) for proxy in proxies]

    @property
    def has_proxies(self) -> bool:
        """Whether any connection may begin with a header."""
        return bool(self._proxies)

    def admit(self, address: str) -> bool:
        """Count a connection from `address`, unless there are too many; who is admitted must `leave`."""
        return self._counted(address, in_all_alone=self._is_proxy(address))

    async def client(self, connection: socket.socket, accepted: Peer) -> Peer | None:
        """Who calls by a connection that was admitted; None: nobody who may, and it is closed."""
        client = await self.caller(connection, accepted)
        if client is not None and not client.admitted:
            connection.close()
            return None
        return client

    async def caller(self, connection: socket.socket, accepted: Peer) -> Peer | None:
        """As `client`, but who is not admitted is told too, and the connection not closed then."""
        if not self._is_proxy(accepted.address):
            return accepted
        client = None
        try:
            client = self._client(accepted, await _read(connection))
        except (HeaderError, OSError) as error:
            self._not_taken(accepted, error)
        except BaseException:
            self.leave(accepted.address)
            raise
        finally:
            if client is None:
                connection.close()
        return client

    def client_in_thread(self, connection: socket.socket, accepted: Peer) -> Peer | None:
        """As `client`, for a socket of a thread; its time-out is changed."""
        if not self._is_proxy(accepted.address):
            return accepted
        client = attempted(lambda: self._client(accepted, _read_in_thread(connection)))
        if isinstance(client, Exception):
            self._not_taken(accepted, client)
        elif client.admitted:
            return client
        connection.close()
        return None

    def _is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        peer = ip_address(_named(ip_address(address)))
        return any(peer in network for network in self._proxies)

    def _client(self, accepted: Peer, header: bytes) -> Peer:
        address = client_of(header)
        if address is None:
            return accepted._replace(relayed=True)
        self.leave(accepted.address)
        client = Peer(*address)
        if self._counted(client.address, in_all_alone=False):
            return client
        _log.warning("a connection was refused at once: too many are open", peer=client.address)
        return client._replace(admitted=False)

    def _not_taken(self, accepted: Peer, error: Exception) -> None:
        self.leave(accepted.address)
        reason = str(error) or type(error).__name__
        _log.warning("a connection of a proxy was not taken", peer=accepted.address, reason=reason)
