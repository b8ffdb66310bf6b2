"""How whoever searches the trail names a node."""

from __future__ import annotations

from ipaddress import ip_address

from shared.security.node_list import is_fingerprint, normal_dn


def named_by(node: str) -> dict[str, str]:
    """By which column a node is found: its fingerprint, its address, or else its subject."""
    plain = node.strip()
    if is_fingerprint(octets := plain.replace(":", "").lower()):
        return {"fingerprint": octets}
    try:
        return {"peer": str(ip_address(plain))}
    except ValueError:
        pass
    try:
        return {"subject": normal_dn(plain)}
    except ValueError:
        return {"subject": plain}
