"""`xdsi record`: stand between two systems, keep what passes, and judge it as it comes."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from conformance.proxy.recording import Recording
from conformance.proxy.relay import Place, Relay
from conformance.validation import validate
from shared.settings.loopback import is_loopback
from xdsi.failures import Failed, WrongUsage
from xdsi.tls_contexts import client_context, server_context
from xdsi.validate import lines

_HELP = "scheme://host:port; http, mllp or syslog, with an s for TLS"


def command(
    listen: Annotated[str, typer.Option(help=f"Where one system connects: {_HELP}.", metavar="URL")],
    target: Annotated[str, typer.Option(help="Where the other system listens, the same way.", metavar="URL")],
    out: Annotated[Path, typer.Option(help="Folder for the captures; made when it is not there.")],
    judge: Annotated[bool, typer.Option("--judge/--no-judge", help="Judge each capture as it comes.")] = True,
    certificate: Annotated[Path | None, typer.Option(help="Our certificate to both sides, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Authorities of both sides, PEM.")] = None,
) -> None:
    """Stand between two systems: what passes is kept, and judged as xdsi validate does, until Ctrl+C.

    An HTTP exchange is one file, the answer behind its request; HL7 v2 and syslog messages are files of their
    own. Files have what messages say of patients, and are for this user alone. Nothing is changed on its way.

    Example: [bold]xdsi record --listen http://127.0.0.1:8300 --target http://127.0.0.1:8010 --out wire[/bold]
    """
    here, there = _place("--listen", listen), _place("--target", target)
    if here.protocol.cutter is not there.protocol.cutter:
        raise WrongUsage(f"--listen {listen}: both sides speak the same; {target} is another protocol")
    if not here.protocol.tls and not is_loopback(here.host):
        raise WrongUsage(f"--listen {listen}: listen on loopback, or with TLS")
    ours = server_context(certificate, key, trust) if here.protocol.tls else None
    theirs = client_context(certificate, key, trust) if there.protocol.tls else None
    with suppress(KeyboardInterrupt):
        asyncio.run(_record(here, there, out, judge, ours, theirs))


async def _record(
    here: Place,
    there: Place,
    out: Path,
    judge: bool,
    ours: ssl.SSLContext | None,
    theirs: ssl.SSLContext | None,
) -> None:
    whole: asyncio.Queue[Path] = asyncio.Queue()
    try:
        recording = Recording(out, whole.put_nowait)
        relay = Relay(there, recording, tls=theirs, notice=lambda text: typer.echo(text, err=True))
        async with relay.listening(here, ours) as port:
            typer.echo(f"port {port} leads to {there.authority}; captures are in {out}")
            while True:
                await _told(await whole.get(), judge)
    except OSError as error:
        raise Failed(f"{here.authority}, {out}: {error.strerror or error}") from None


async def _told(path: Path, judge: bool) -> None:
    if not judge:
        typer.echo(str(path))
        return
    report = await asyncio.to_thread(validate, path)
    for line in lines(report, width=100):
        typer.echo(line)


def _place(option: str, url: str) -> Place:
    try:
        return Place.of(url)
    except ValueError as error:
        raise WrongUsage(f"{option} {url}: {error}") from None
