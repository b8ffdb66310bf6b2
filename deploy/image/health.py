"""Whether the service of this container lives: exit status 0 when `/health/live` says so.

Asks as the node itself, with its certificate. What it needs is in the environment: XDSI_HOST, XDSI_PORT or
XDSI_<SERVICE>__PORT, XDSI_TLS__CERTIFICATE, __KEY and __TRUST. Only the standard library is loaded, because
it runs every few seconds.

    health.py [PAGE [SERVICE]]       live of what the first process of the container serves; or `ready`
"""

from __future__ import annotations

import http.client
import os
import ssl
import sys
from pathlib import Path

PORTS = {
    "registry": 8010,
    "repository": 8020,
    "imaging-source": 8030,
    "consumer": 8040,
    "audit-repository": 8050,
    "gateway": 8060,
}
SECONDS = 5.5


def served() -> str:
    """The service that the first process was told to serve."""
    words = Path("/proc/1/cmdline").read_text("utf-8").split("\0")
    return next(word for word in words[words.index("serve") :] if word in PORTS)


def setting(service: str, name: str, default: str = "") -> str:
    """A setting of the service, its own before that of all."""
    own = f"XDSI_{service.upper().replace('-', '_')}__{name}"
    return os.environ.get(own) or os.environ.get(f"XDSI_{name}") or default


def connection(service: str) -> http.client.HTTPConnection:
    """To the service, by TLS where it speaks TLS."""
    host = setting(service, "HOST", "127.0.0.1")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared, not listened on
    port = int(setting(service, "PORT", str(PORTS[service])))
    certificate = setting(service, "TLS__CERTIFICATE")
    if not certificate:
        return http.client.HTTPConnection(host, port, timeout=SECONDS)
    context = ssl.create_default_context(cafile=setting(service, "TLS__TRUST"))
    # It is asked by its address; that it shows a certificate of our authorities is what counts.
    context.check_hostname = False
    context.load_cert_chain(certificate, setting(service, "TLS__KEY"))
    return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=context)


def main(page: str = "live", service: str = "") -> int:
    """0 when the page says yes."""
    asked = connection(service or served())
    try:
        asked.request("GET", f"/health/{page}")
        answer = asked.getresponse()
    except OSError as error:
        sys.stderr.write(f"{page}: {error}\n")
        return 1
    sys.stdout.write(answer.read().decode("utf-8", "replace") + "\n")
    return 0 if answer.status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
