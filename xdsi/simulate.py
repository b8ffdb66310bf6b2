"""`xdsi simulate`: peers that answer rightly, or wrongly by a script, for testing whoever asks them."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from conformance.plans.stand import Target
from conformance.simulators.audit_repository import Reception, SyslogSimulator, syslog_simulator
from conformance.simulators.scripts import ACTORS, RIGHT, Cast, scripts
from conformance.simulators.server import Handler, HttpAnswer, HttpRequest, http_simulator
from conformance.simulators.world import World
from shared.settings.loopback import is_loopback
from xdsi.failures import Failed, WrongUsage
from xdsi.stage import free_ports
from xdsi.tls_contexts import server_context

AUDIT_REPOSITORY = "audit-repository"
_LOOK_SECONDS = 0.2


def command(
    actors: Annotated[
        list[str],
        typer.Argument(
            help=f"{', '.join(ACTORS)} or {AUDIT_REPOSITORY}; several may play together.", metavar="ACTOR…"
        ),
    ],
    script: Annotated[str, typer.Option(help="How they answer; --list tells the scripts.")] = RIGHT,
    names: Annotated[bool, typer.Option("--list", help="Print the scripts of the actors, and end.")] = False,
    port: Annotated[int, typer.Option(help="Port of SOAP and DICOMweb; 0 takes a free one.")] = 8200,
    syslog_port: Annotated[
        int, typer.Option(help="Port of the audit repository; 0 takes a free one.")
    ] = 8201,
    host: Annotated[str, typer.Option(help="Address to listen on; loopback unless with TLS.")] = "127.0.0.1",
    dicomweb: Annotated[
        str, typer.Option(help="Retrieve URL that the manifest names; our own when empty.", metavar="URL")
    ] = "",
    domain: Annotated[str, typer.Option(help="Assigning authority of patient ids (OID).")] = Target().domain,
    home: Annotated[
        str, typer.Option(help="homeCommunityId of the gateways (urn:oid:…).")
    ] = "urn:oid:2.999.72",
    certificate: Annotated[Path | None, typer.Option(help="Our certificate, PEM: with it TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Authorities of who asks, PEM.")] = None,
) -> None:
    """Play peers of a system that is tested: they know one patient with one published study.

    Rightly, or wrongly by a script: slow, silent, truncated, huge, another patient's image, a wrong status,
    and more. Every request is told in a line, until Ctrl+C.

    Example: [bold]xdsi simulate registry repository imaging-source --script other-patient[/bold]
    """
    for actor in actors:
        if actor != AUDIT_REPOSITORY and actor not in ACTORS:
            raise WrongUsage(f"{actor} is not played; name {', '.join(ACTORS)} or {AUDIT_REPOSITORY}")
    if names:
        for line in _listed(actors):
            typer.echo(line)
        return
    if certificate is None and not is_loopback(host):
        raise WrongUsage(f"--host {host}: give --certificate, --key and --trust, or listen on loopback alone")
    tls = server_context(certificate, key, trust) if certificate else None
    scheme = "https" if tls else "http"
    port = port or free_ports(1)[0]
    world = World(domain=domain, dicomweb=dicomweb or f"{scheme}://{host}:{port}/dicomweb", home=home)
    cast, reception = _cast(actors, script, world)
    with ExitStack() as playing:
        try:
            for line in _started(playing, cast, reception, host, port, syslog_port, tls):
                typer.echo(line)
        except OSError as error:
            raise Failed(f"{host}: {error.strerror}; name another port") from None
        typer.echo(f"patient {world.patient_id}")
        while True:
            time.sleep(_LOOK_SECONDS)


def _listed(actors: list[str]) -> Iterator[str]:
    for actor in actors:
        yield actor
        if actor == AUDIT_REPOSITORY:
            yield from (f"  {reception}" for reception in Reception)
        else:
            yield from (f"  {name:<20} {one.says}" for name, one in scripts(actor).items())


def _cast(actors: list[str], script: str, world: World) -> tuple[Cast | None, Reception | None]:
    """Who plays by the script, and who, not knowing it, plays rightly."""
    spoken = [actor for actor in dict.fromkeys(actors) if actor != AUDIT_REPOSITORY]
    knowing = [actor for actor in spoken if script in scripts(actor)]
    listens = AUDIT_REPOSITORY in actors
    receptions = {str(reception) for reception in Reception}
    if not knowing and not (listens and script in receptions):
        raise WrongUsage(f"--script {script}: none of {', '.join(actors)} has it; --list tells the scripts")
    cast = Cast(world, {actor: script if actor in knowing else RIGHT for actor in spoken}) if spoken else None
    reception = Reception(script if script in receptions else RIGHT) if listens else None
    return cast, reception


def _started(
    playing: ExitStack,
    cast: Cast | None,
    reception: Reception | None,
    host: str,
    port: int,
    syslog_port: int,
    tls: ssl.SSLContext | None,
) -> Iterator[str]:
    if cast is not None:
        simulator = playing.enter_context(http_simulator(_told(cast), host=host, port=port, tls=tls))
        yield from (f"{address:<40} {actor}" for actor, address in cast.addresses(simulator.url))
    if reception is not None:
        syslog: SyslogSimulator = playing.enter_context(
            syslog_simulator(reception, host=host, port=syslog_port, tls=tls)
        )
        yield f"{syslog.url:<40} {AUDIT_REPOSITORY}"


def _told(cast: Cast) -> Handler:
    def handle(request: HttpRequest) -> HttpAnswer:
        answer = cast.handle(request)
        typer.echo(f"{request.method} {request.path}: HTTP {answer.status}, {answer.delivery}")
        return answer

    return handle
