"""`xdsi conform`: test plans against any system, or against our own services."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from conformance.plans.assertions import Provider
from conformance.plans.catalogue import PACKS, probes
from conformance.plans.dimse import EntityAddress
from conformance.plans.images import the_study
from conformance.plans.probe import Probe, Verdict
from conformance.plans.run import Run, chosen, run
from conformance.plans.stand import Target
from conformance.reports.data import Difference, as_json, differences
from conformance.reports.junit import junit
from conformance.reports.page import page
from conformance.reports.terminal import line, lines
from shared.settings.loopback import is_loopback
from xdsi.failures import WrongUsage
from xdsi.tls_contexts import client_context


def command(
    plan: Annotated[
        list[str],
        typer.Argument(
            help="Actors, ids or beginnings of ids, as registry or REG-18; all without.", metavar="PLAN…"
        ),
    ] = [],
    target: Annotated[
        list[str], typer.Option(help="ACTOR=URL of what is judged; may be repeated.", metavar="ACTOR=URL")
    ] = [],
    itself: Annotated[bool, typer.Option("--self", help="Judge our own services, started for it.")] = False,
    names: Annotated[bool, typer.Option("--list", help="Print the requirements, and ask nothing.")] = False,
    domain: Annotated[str, typer.Option(help="Assigning authority of patient ids (OID).")] = Target().domain,
    home: Annotated[str, typer.Option(help="homeCommunityId of the system (urn:oid:…).")] = "",
    repository: Annotated[str, typer.Option(help="repositoryUniqueId of the repository.")] = "",
    retrieve_location: Annotated[str, typer.Option(help="Retrieve Location UID of the imaging source.")] = "",
    entity: Annotated[
        str, typer.Option(help="TITLE@host:port of our own application entity, as the system knows it.")
    ] = "",
    study: Annotated[
        Path | None,
        typer.Option(
            help="Write the images that probes ask for as files below this folder, and ask nothing."
        ),
    ] = None,
    study_is_there: Annotated[
        bool, typer.Option("--study-is-there", help="They were brought into the system: store none.")
    ] = False,
    without: Annotated[
        list[str], typer.Option(help="Option that the system does not claim; may be repeated.")
    ] = [],
    pack: Annotated[
        list[str], typer.Option(help=f"National pack to ask too: {', '.join(PACKS)}; may be repeated.")
    ] = [],
    certificate: Annotated[Path | None, typer.Option(help="Our certificate, PEM.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key, PEM.")] = None,
    trust: Annotated[Path | None, typer.Option(help="Authorities of the system, PEM.")] = None,
    assertion: Annotated[Path | None, typer.Option(help="File with a signed assertion to send.")] = None,
    peers: Annotated[
        str, typer.Option(help="host:port at which the consumer asks the peers that we play.")
    ] = "",
    peers_syslog: Annotated[str, typer.Option(help="Port at which it reports to their syslog.")] = "",
    issuer: Annotated[str, typer.Option(help="URI of an assertion provider that the system believes.")] = "",
    issuer_key: Annotated[
        Path | None, typer.Option(help="Its private key, PEM: assertions are signed.")
    ] = None,
    issuer_certificate: Annotated[Path | None, typer.Option(help="Its certificate, PEM.")] = None,
    audience: Annotated[str, typer.Option(help="Audience of assertions; the domain when empty.")] = "",
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for records, manifests and results of commitment.", min=0)
    ] = Target().patience_seconds,
    strict: Annotated[
        bool, typer.Option(help="Fail a probe, too, whose answers have errors that the validators find.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Where what was sent and came is kept; without, in a temporary folder when not all is met."
        ),
    ] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.")] = None,
    html_file: Annotated[Path | None, typer.Option("--html", help="Write one HTML file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write JSON.")] = None,
    before: Annotated[Path | None, typer.Option(help="JSON of an earlier run to compare with.")] = None,
) -> None:
    """Ask a system for what the standards require of it, one probe for each requirement.

    Data is made with fresh ids. Ends with status 1 when a requirement is not met.

    Example: [bold]xdsi conform registry --target registry=http://host:8010/xds/registry --html a.html[/bold]
    """
    if unknown := set(pack) - set(PACKS):
        raise WrongUsage(f"--pack {', '.join(unknown)}: there is none; name {', '.join(PACKS)}")
    selected = list(chosen(probes(), plan, pack))
    if not selected:
        raise WrongUsage(f"no requirement is named {', '.join(plan)}; xdsi conform --list prints them")
    if names:
        for probe in selected:
            typer.echo(f"{probe.id:<13}  {probe.actor:<15}  {probe.purpose}  [{probe.clause}]")
        return
    if study:
        _write_study(study)
        return
    earlier = _read(before) if before else None
    with ExitStack() as at_end:
        place = folder or _passing_folder(at_end)
        if itself:
            from xdsi.own_system import own_system

            system: Any = own_system(place / "system")
        else:
            system = nullcontext(
                Target(
                    endpoints=_endpoints(target),
                    domain=domain,
                    home=home,
                    repository_unique_id=repository,
                    retrieve_location_uid=retrieve_location,
                    tls=client_context(certificate, key, trust) if certificate or trust else None,
                    assertion=assertion.read_text("utf-8").strip() if assertion else "",
                    entity=_entity(entity),
                    study_is_there=study_is_there,
                    patience_seconds=patience,
                    peers=_peers(peers),
                    peers_syslog=peers_syslog,
                    provider=_provider(
                        issuer, audience or f"urn:oid:{domain}", issuer_key, issuer_certificate
                    ),
                    without=frozenset(without),
                )
            )
        with system as judged:
            outcome = _run(selected, judged, place, strict=strict or itself)
        changes = differences(earlier, as_json(outcome)) if earlier is not None else ()
        _write(outcome, changes, junit_file, html_file, json_file)
        if not (folder or outcome.passed):
            at_end.pop_all()
            typer.echo(f"what was sent and came is kept in {place} (--folder names another place)", err=True)
    for text in lines(outcome):
        typer.echo(text)
    for one in changes:
        typer.echo(
            f"{one.id}: {one.before or 'not asked'} before, {one.after or 'not asked'} now: {one.reason}"
        )
    if not outcome.passed:
        raise typer.Exit(1)


def _passing_folder(at_end: ExitStack) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="xdsi-conform-"))
    at_end.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _run(selected: Sequence[Probe], target: Target, place: Path, *, strict: bool) -> Run:
    def report(verdict: Verdict) -> None:
        typer.echo(line(verdict), err=True)

    return run(selected, target, place, strict=strict, report=report)


def _write(
    outcome: Run,
    changes: Sequence[Difference],
    junit_file: Path | None,
    html_file: Path | None,
    json_file: Path | None,
) -> None:
    if junit_file:
        junit_file.write_bytes(junit(outcome))
    if html_file:
        html_file.write_text(page(outcome, changes), "utf-8")
    if json_file:
        json_file.write_text(json.dumps(as_json(outcome), indent=2), "utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        earlier: dict[str, Any] = json.loads(path.read_text("utf-8"))
        earlier["verdicts"]
    except (OSError, ValueError, KeyError, TypeError):
        raise WrongUsage(f"{path}: not the JSON of a run; xdsi conform --json writes it") from None
    return earlier


def _write_study(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(the_study().files, 1):
        (folder / f"{number}.dcm").write_bytes(image.octets)
    typer.echo(f"{number} files are in {folder}; bring them into the system, then ask with --study-is-there")


def _entity(text: str) -> str:
    if text:
        _entity_address("--entity", text)
    return text


def _entity_address(option: str, text: str) -> None:
    try:
        EntityAddress.of(text)
    except ValueError as error:
        raise WrongUsage(f"{option} {text}: {error}") from None


def _peers(address: str) -> str:
    host, _, port = address.rpartition(":")
    if address and not (is_loopback(host) and port.isdigit()):
        raise WrongUsage(f"--peers {address}: write host:port on loopback, as 127.0.0.1:8200")
    return address


def _provider(issuer: str, audience: str, key: Path | None, certificate: Path | None) -> Provider | None:
    if not issuer:
        return None
    if key is None or certificate is None:
        raise WrongUsage(f"--issuer {issuer}: name its --issuer-key and --issuer-certificate")
    try:
        return Provider.load(issuer, audience, key, certificate)
    except (OSError, ValueError, TypeError) as error:
        raise WrongUsage(f"--issuer {issuer}: {error}") from None


def _endpoints(target: list[str]) -> dict[str, str]:
    endpoints = {}
    for text in target:
        actor, equals, url = text.partition("=")
        if not (actor and equals and url):
            raise WrongUsage(f"--target {text}: write ACTOR=URL, as registry=https://host:8010/xds/registry")
        if actor == "dimse":
            _entity_address("--target dimse=", url)
        endpoints[actor] = url
    if not endpoints:
        raise WrongUsage("nothing to judge: name it with --target ACTOR=URL, or take --self")
    return endpoints
