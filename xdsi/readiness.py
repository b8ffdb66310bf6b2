"""How a service tells whoever started it that requests are accepted: a line, and the protocol of systemd."""

from __future__ import annotations

import os
import socket
import sys


def tell_ready(line: str) -> None:
    """Print `line`, and tell a supervisor that waits for it (sd_notify(3): `NOTIFY_SOCKET`)."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if address := os.environ.get("NOTIFY_SOCKET"):
        # `@` stands for the zero byte that begins an abstract address.
        where = f"\0{address[1:]}" if address.startswith("@") else address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
            supervisor.sendto(b"READY=1", where)
