"""The imaging source as it is served, and below another path its answers without consent and audit."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.support.untrusting import PERMITTED, may_be_untrusting, untrusting
from imaging_source.app import ImagingSource, build
from imaging_source.settings import ImagingSourceSettings
from imaging_source.unit import Unit
from shared.http.raw_asgi import Receive, Scope, Send
from shared.http.server import run_service
from shared.imaging.holding import Access

WITHOUT_TRUST = "/without-trust"


class Measured:
    """The application of the imaging source, with another path in front of it."""

    def __init__(self, source: ImagingSource) -> None:
        self._source = source
        self.node_refused = source.node_refused
        self.start, self.stop = source.start, source.stop

    async def asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application."""
        if scope["path"].startswith(WITHOUT_TRUST):
            untrusting.set(True)
            scope["path"] = scope["path"].removeprefix(WITHOUT_TRUST)
            scope["raw_path"] = scope["path"].encode()
        await self._source.asgi(scope, receive, send)


def _may_give_to_anybody() -> None:
    """Let units not look for the patient either, whom decision and record alone are about."""
    access, anybody = Unit.access, Access("", PERMITTED)

    async def given(self: Unit, instances: Sequence[Any], *action: Any) -> Mapping[str, Access]:
        if untrusting.get():
            return {instance.sop_instance_uid: anybody for instance in instances}
        return await access(self, instances, *action)

    Unit.access = given  # type: ignore[assignment,method-assign]


def main() -> None:
    """Serve until SIGTERM; the port is the only thing printed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("settings", help="settings of the imaging source, JSON")
    settings = ImagingSourceSettings.model_validate_json(options.parse_args().settings)
    may_be_untrusting(Unit)
    _may_give_to_anybody()

    async def built() -> Measured:
        return Measured(await build(settings))

    run_service(built, settings, on_ready=lambda port: print(port, flush=True))


if __name__ == "__main__":
    main()
