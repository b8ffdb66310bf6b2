"""Addresses of this machine alone."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(maxsize=1_024)
def is_loopback(host: str) -> bool:
    """Whether `host` is an address or name of this machine alone; a pure function, asked by every request."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
