"""Headers of the PROXY protocol as a proxy writes them, from its text (proxy-protocol.txt 2.1 and 2.2)."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"
UNKNOWN = b"PROXY UNKNOWN\r\n"


def a_line(source: str, target: str = "127.0.0.1", ports: tuple[int, int] = (4711, 443)) -> bytes:
    """Version 1, for text."""
    family = 4 if isinstance(ip_address(source), IPv4Address) else 6
    return f"PROXY TCP{family} {source} {target} {ports[0]} {ports[1]}\r\n".encode()


def binary(command: int, family: int, block: bytes) -> bytes:
    """Version 2, of any content."""
    return SIGNATURE + bytes((0x20 | command, family)) + struct.pack("!H", len(block)) + block


def tcp(
    source: IPv4Address | IPv6Address,
    target: IPv4Address | IPv6Address,
    ports: tuple[int, int],
    tlvs: bytes = b"",
) -> bytes:
    """Version 2, for a client over TCP."""
    family = 0x11 if source.version == 4 else 0x21
    return binary(1, family, source.packed + target.packed + struct.pack("!HH", *ports) + tlvs)


def a_binary(source: str) -> bytes:
    """Version 2, for text, with a TLV that says nothing to us."""
    client = ip_address(source)
    here = IPv4Address("127.0.0.1") if client.version == 4 else IPv6Address("::1")
    return tcp(client, here, (4711, 443), b"\x04\x00\x03abc")
