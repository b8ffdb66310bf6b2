"""Whether the service of this container lives: exit status 0 when `/health/live` says so.

Asks at XDSI_HEALTH_PORT, which the image sets. Only the standard library is loaded, because it runs every few
seconds.

    health.py [PAGE]       live when not given; or `ready`
"""

from __future__ import annotations

import http.client
import os
import sys

SECONDS = 5.5


def main(page: str = "live") -> int:
    """0 when the page says yes."""
    asked = http.client.HTTPConnection("127.0.0.1", int(os.environ["XDSI_HEALTH_PORT"]), timeout=SECONDS)
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
