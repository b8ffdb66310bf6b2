"""`xdsi up`: all services of one community in the foreground."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from shared.settings import nested
from xdsi.community import (
    Addresses,
    NotReady,
    Process,
    environment,
    processes,
    services_of,
    start_all,
    stop_all,
)
from xdsi.data_folder import CONFIG, LOGS, claim
from xdsi.failures import Failed
from xdsi.remembered import remember
from xdsi.stage import write_toml

_RESTART_PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_SECONDS = 60.0


def command(
    data: Annotated[Path, typer.Option(help="Folder for databases, documents, images and logs.")] = Path(
        "var"
    ),
    host: Annotated[
        str, typer.Option(help="Address to listen on; anything but loopback needs TLS.")
    ] = "127.0.0.1",
    offset: Annotated[int, typer.Option(min=0, max=50_000, help="Added to every port.")] = 0,
) -> None:
    """Run registry, repository, imaging source, gateway, consumer and audit repository until Ctrl-C.

    The identity service runs beside them where XDSI_IDENTITY__PROVIDERS or …__CLIENTS is set. Prints one line
    per service when it is ready, then `ready`. A service that ends by itself is started again. Other commands
    that are called in the same folder find this community by themselves.

    Example: [bold]xdsi up --data ./var --offset 1000[/bold]
    """
    addresses = Addresses(host=host, offset=offset, tls="XDSI_TLS__CERTIFICATE" in os.environ)
    variables = environment(addresses, data.resolve())
    places = {name: variables[name] for name in _OPTIONS}
    env = {**variables, **os.environ, **places}
    claim(data.resolve(), said_by="--data")
    members = list(processes(services_of(env), env, data.resolve() / LOGS))
    stop = _Stop()
    try:
        for member in start_all(members):
            typer.echo(f"{member.service:<17} {member.url}")
        config = write_toml(data.resolve() / CONFIG, nested(env))
        here = (
            "commands in this folder find this community; elsewhere: " if remember(Path.cwd(), config) else ""
        )
        typer.echo(f"{here}--config {config}", err=True)
        typer.echo("ready")
        _watch(members, stop)
    except NotReady as error:
        raise Failed(str(error)) from None
    finally:
        stop_all(members)


# What the command line says wins over the environment.
_OPTIONS = frozenset({"XDSI_HOST", "XDSI_DATA"})


class _Stop:
    """Set by SIGTERM or SIGINT."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True


def _watch(members: list[Process], stop: _Stop) -> None:
    failures = dict.fromkeys((member.service for member in members), 0)
    since = dict.fromkeys((member.service for member in members), time.monotonic())
    while not stop.asked:
        time.sleep(0.2)
        for member in members:
            if member.running or stop.asked:
                continue
            if time.monotonic() - since[member.service] > _STEADY_SECONDS:
                failures[member.service] = 0
            pause = _RESTART_PAUSES[min(failures[member.service], len(_RESTART_PAUSES) - 1)]
            typer.echo(f"{member.service} ended; starting it again in {pause:g} s", err=True)
            time.sleep(pause)
            failures[member.service] += 1
            since[member.service] = time.monotonic()
            member.start()
