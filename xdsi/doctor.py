"""`xdsi doctor`: what is wrong with this installation, and the remedy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.attempts import awaited
from shared.settings import ServiceSettings, SettingsError, is_loopback
from xdsi.checks import (
    archives,
    certificates,
    databases,
    entities,
    machine,
    manifests,
    nodes,
    peers,
    ports,
    reports,
    start,
    storage,
)
from xdsi.checks.finding import Finding, Severity, doubtful, of_problem, well, wrong
from xdsi.configuration import load
from xdsi.options import AsJson, Config
from xdsi.services import Service

_MARKS = {Severity.OK: "ok", Severity.WARNING: "warning", Severity.ERROR: "ERROR"}


def command(
    service: Annotated[
        list[Service] | None, typer.Option(help="Of this service alone; may be given several times.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check settings, ports, certificates, databases, stores, peers, disk and clock, also while the services
    run; name the setting that is wrong and its remedy.

    Logs in as the services do and changes nothing; whatever `xdsi serve` would refuse is told here too. Ends
    with status 1 when there is an error; a warning alone ends with 0.

    Example: [bold]xdsi doctor --service registry --config /etc/xdsi.toml[/bold]
    """
    chosen = list(dict.fromkeys(service or Service))
    findings = examine(config, chosen)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(_lines(findings)))
    if any(finding.severity is Severity.ERROR for finding in findings):
        raise typer.Exit(1)


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    for finding in findings:
        yield f"{_MARKS[finding.severity]:<8} {finding.subject}: {finding.found}"
        if finding.remedy:
            yield f"{'':<8} → {finding.remedy}"
    errors, warnings = (
        sum(finding.severity is severity for finding in findings)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    yield ""
    yield f"{_counted(errors, 'error')}, {_counted(warnings, 'warning')}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def examine(config: Path | None, services: Iterable[Service] = Service) -> list[Finding]:
    """Look at everything, in the order in which problems build on each other; what several services share is
    told once."""
    return asyncio.run(_examined(config, tuple(services)))


async def examine_running(service: Service, settings: ServiceSettings) -> list[Finding]:
    """Look at everything that a service needs which runs by these settings, in a thread beside it."""

    async def looked() -> list[Finding]:
        return _once([*await _looked("machine", machine.machine), *await _of_settings({service: settings})])

    return await asyncio.to_thread(asyncio.run, looked())


async def _examined(config: Path | None, services: Sequence[Service]) -> list[Finding]:
    return _once(await _all(config, services))


def _once(every: Iterable[Finding]) -> list[Finding]:
    findings: dict[tuple[str, str, str], Finding] = {}
    for finding in every:
        findings.setdefault((finding.subject, finding.found, finding.remedy), finding)
    return list(findings.values())


async def _all(config: Path | None, services: Sequence[Service]) -> list[Finding]:
    first_findings = await _looked("machine", machine.machine)
    usable: dict[Service, Any] = {}
    for service in services:
        try:
            usable[service] = load(service.settings_class(), config)
        except SettingsError as error:
            first_findings += [of_problem("settings", problem, service) for problem in error.problems]
    return [*first_findings, *await _of_settings(usable)]


async def _of_settings(usable: Mapping[Service, Any]) -> list[Finding]:
    findings = await _looked("port", partial(_on_one_port, usable))
    idle: dict[peers.Address, Service] = {}
    for service, settings in usable.items():
        findings += [of_problem(one.check, one.problem, service) for one in start.refusals(service, settings)]
        for look in _looks(service, settings):
            findings += await _looked(str(service), look)
        idle |= _idle(service, settings)
    own = peers.Installation(idle, runs=any(_runs(one) for one in usable.values()))
    checks = (
        _looked(str(service), partial(_asked, service, settings, own)) for service, settings in usable.items()
    )
    return [
        *findings,
        *(finding for findings in await asyncio.gather(*checks) for finding in findings),
    ]


Look = Callable[[], Iterable[Finding] | Awaitable[Iterable[Finding]]]


def _looks(service: Service, settings: Any) -> Iterator[Look]:
    """What is looked at for one service, peers apart."""
    yield partial(certificates.certificates, settings)
    yield partial(nodes.nodes, settings)
    yield partial(storage.folders, settings)
    yield partial(_assertions, settings)
    yield partial(_open, settings)
    yield partial(ports.ports, service, settings)
    if service not in databases.WITHOUT:
        yield partial(databases.database, service, settings)
    if service in (Service.REPOSITORY, Service.IMAGING_SOURCE):
        yield partial(storage.object_stores, settings)


async def _looked(subject: str, look: Look) -> list[Finding]:
    """What `look` finds; a mistake of ours in it is a finding, so that whoever is in need gets the rest."""
    findings = await awaited(_seen(look))
    if not isinstance(findings, Exception):
        return findings
    name = getattr(getattr(look, "func", look), "__name__", "a check")
    state = f"{name} could not be looked at: a mistake of xdsi itself ({type(findings).__name__})"
    return [wrong("doctor", subject, state, "please report it")]


async def _seen(look: Look) -> list[Finding]:
    findings = look()
    return list(await findings if isinstance(findings, Awaitable) else findings)


def _idle(service: Service, settings: ServiceSettings) -> dict[peers.Address, Service]:
    """The addresses of the service at which nobody listens now."""
    return {
        peers.address(settings.host, listener.port): service
        for listener in ports.listeners(settings)
        if listener.port and ports.is_free(settings, listener)
    }


def _runs(settings: ServiceSettings) -> bool:
    """Whether somebody listens where the service would."""
    first = ports.listeners(settings)[0]
    return first.port != 0 and not ports.is_free(settings, first)


async def _asked(service: Service, settings: ServiceSettings, own: peers.Installation) -> list[Finding]:
    try:
        every = list(dict.fromkeys(peers.peers(service, settings)))
    except SettingsError:
        return []  # told by what refuses to start
    answers = await asyncio.gather(
        *(peers.asked(settings, peer, own) for peer in every),
        peers.policies(service, settings, own),
        peers.trail(service, settings, own),
        *(
            (
                archives.archives(settings),
                entities.entities(settings),
                manifests.manifests(settings),
                reports.reports(settings),
            )
            if service is Service.IMAGING_SOURCE
            else ()
        ),
    )
    return [finding for findings in answers for finding in findings]


# --- settings that contradict each other -------------------------------------------------------------


def _on_one_port(usable: Mapping[Service, Any]) -> Iterator[Finding]:
    """Ports that two listeners of this machine would take."""
    names: dict[tuple[str, int, int], str] = {}
    for service, settings in usable.items():
        for listener in ports.listeners(settings):
            name = ports.subject(service, listener)
            other = names.setdefault((settings.host, listener.kind, listener.port), name)
            if listener.port and other != name:
                yield wrong(
                    "port",
                    name,
                    f"{settings.host} port {listener.port} is that of {other} too",
                    "give each a port of its own",
                    service,
                )


def _assertions(settings: ServiceSettings) -> Iterator[Finding]:
    if settings.xua_mode == "required" and not settings.assertion.issuers:
        yield wrong(
            "assertions",
            "XDSI_ASSERTION__ISSUERS",
            "user assertions are required, and no issuer is believed: every query is refused",
            'set it to {"issuer URI": "its certificate.pem"}',
        )
        return
    yield well("assertions", "XDSI_XUA", f"user assertions are {settings.xua_mode}")


def _open(settings: ServiceSettings) -> Iterator[Finding]:
    """What is open to others though it may not be meant."""
    if not settings.tls.enabled or is_loopback(settings.host):
        return
    if settings.consent_default == "permit":
        yield doubtful(
            "open",
            "XDSI_CONSENT__DEFAULT",
            "documents of patients without a policy are given to every user",
            "set it to deny, if that is not the law where you are",
        )
    if settings.xua_mode != "required":
        yield doubtful(
            "open",
            "XDSI_XUA",
            f"user assertions are {settings.xua_mode}: nodes ask without telling for whom",
            "set it to required",
        )
