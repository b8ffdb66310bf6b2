"""`xdsi doctor`: what is wrong with this installation, and the remedy."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from rich.console import Console
from rich.table import Table

from shared.settings import ServiceSettings, SettingsError
from xdsi.configuration import load
from xdsi.services import Service

_SOON = timedelta(days=30)
_ENOUGH_SPACE = 0.05
_WITHOUT_DATABASE = frozenset({Service.CONSUMER, Service.GATEWAY})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is empty when all is well."""

    subject: str
    found: str
    remedy: str = ""


def command(
    config: Annotated[Path | None, typer.Option(help="TOML file, as for `xdsi serve`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check settings, ports, certificates, databases, disk and clock; name the setting that is wrong and its
    remedy.

    Ends with status 1 when something needs a remedy.

    Example: [bold]xdsi doctor --config /etc/xdsi.toml[/bold]
    """
    findings = list(examine(config))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "looked at", "found", "remedy"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        mark = "[red]✗[/red]" if finding.remedy else "[green]✓[/green]"
        table.add_row(mark, finding.subject, finding.found, finding.remedy)
    Console().print(table)


def examine(config: Path | None) -> Iterator[Finding]:
    """Look at everything, in the order in which problems build on each other."""
    yield _python()
    yield _sqlite()
    seen: set[str] = set()
    for service in Service:
        try:
            settings = load(service.settings_class(), config)
        except SettingsError as error:
            for problem in error.problems:
                if problem not in seen:
                    seen.add(problem)
                    name, _, text = problem.partition(": ")
                    yield Finding(f"settings of {service}", name, text)
            continue
        for finding in _service(service, settings):
            if (key := f"{finding.subject}|{finding.found}") not in seen:
                seen.add(key)
                yield finding
    yield _clock()


def _service(service: Service, settings: ServiceSettings) -> Iterator[Finding]:
    yield from _ports(service, settings)
    yield from _certificates(settings)
    yield _data(settings)
    if service not in _WITHOUT_DATABASE:
        yield _database(service, settings)
    yield _xua(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(
        "Python", version, "" if sys.version_info >= (3, 11) else "install Python 3.11, 3.12 or 3.13"
    )


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version_info
    remedy = (
        "" if version >= (3, 35) else "install a Python with SQLite 3.35 or newer, or set XDSI_DATABASE_URL"
    )
    return Finding("SQLite", sqlite3.sqlite_version, remedy)


def _ports(service: Service, settings: ServiceSettings) -> Iterator[Finding]:
    for name, port in settings:
        if name != "port" and not name.endswith("_port"):
            continue
        if name == "mllp_port":
            port = getattr(settings, "feed_port", port)
        subject = f"{service} {name} {port}"
        setting = f"XDSI_{service.package.upper()}__{name.upper()}"
        yield _port(subject, settings.host, int(port), setting)


def _port(subject: str, host: str, port: int, setting: str) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return Finding(subject, "not permitted", f"set {setting} to a port above 1023")
        except OSError as error:
            return Finding(subject, error.strerror or "in use", f"stop what listens there, or set {setting}")
    return Finding(subject, "free")


def _certificates(settings: ServiceSettings) -> Iterator[Finding]:
    tls = settings.tls
    if not tls.enabled:
        yield Finding("TLS", "not set up: loopback only")
        return
    if tls.certificate and tls.key and tls.trust:
        for name, path, check in (
            ("XDSI_TLS__CERTIFICATE", tls.certificate, _certificate),
            ("XDSI_TLS__KEY", tls.key, _key),
            ("XDSI_TLS__TRUST", tls.trust, _certificate),
        ):
            yield _checked(name, path, check)
        yield _pair(tls.certificate, tls.key)


def _checked(name: str, path: Path, check: Callable[[Path], tuple[str, str]]) -> Finding:
    try:
        found, remedy = check(path)
    except (OSError, ValueError) as error:
        return Finding(name, f"unreadable: {type(error).__name__}", "name a PEM file that this user may read")
    return Finding(name, found, remedy)


def _certificate(path: Path) -> tuple[str, str]:
    certificates = x509.load_pem_x509_certificates(path.read_bytes())
    ends = min(certificate.not_valid_after_utc for certificate in certificates)
    left = ends - datetime.now(UTC)
    found = f"{certificates[0].subject.rfc4514_string()}, until {ends:%Y-%m-%d}"
    if left < timedelta(0):
        return found, "it has expired: renew it"
    return found, "it ends within 30 days: renew it" if left < _SOON else ""


def _key(path: Path) -> tuple[str, str]:
    load_pem_private_key(path.read_bytes(), None)
    mode = path.stat().st_mode & 0o777
    return f"mode {mode:o}", "" if not mode & 0o077 else f"others can read it: chmod 600 {path}"


def _pair(certificate: Path, key: Path) -> Finding:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError):
        return Finding(
            "certificate and key",
            "do not belong together",
            "name the key of XDSI_TLS__CERTIFICATE in XDSI_TLS__KEY",
        )
    return Finding("certificate and key", "belong together")


def _data(settings: ServiceSettings) -> Finding:
    folder = settings.data.resolve()
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    subject = f"XDSI_DATA {folder}"
    if not place.is_dir():
        return Finding(subject, f"{place} is a file", "set XDSI_DATA to a folder")
    if not os.access(place, os.W_OK):
        return Finding(subject, "not writable", f"chown {place} to this user, or set XDSI_DATA")
    usage = shutil.disk_usage(place)
    free = usage.free / usage.total
    found = f"{usage.free / 1024**3:.1f} GiB free ({free:.0%})"
    return Finding(
        subject, found, "" if free >= _ENOUGH_SPACE else "free space: services report not ready below 5 %"
    )


def _database(service: Service, settings: ServiceSettings) -> Finding:
    subject = f"database of {service}"
    if settings.database_url is None:
        return Finding(subject, "embedded SQLite below XDSI_DATA")
    from sqlalchemy.engine import make_url  # only when a URL is set

    url = make_url(settings.database_url)
    host, port = url.host or "localhost", url.port or 5432
    found = url.render_as_string(hide_password=True)
    if not url.drivername.startswith("postgresql"):
        return Finding(subject, found)
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError as error:
        return Finding(
            subject,
            f"{found}: {error.strerror or 'no answer'}",
            "start PostgreSQL, or correct XDSI_DATABASE_URL",
        )
    return Finding(subject, found)


def _xua(settings: ServiceSettings) -> Finding:
    if settings.xua_mode == "required" and not settings.assertion.issuers:
        return Finding(
            "user assertions",
            "required, and no issuer is believed",
            'set XDSI_ASSERTION__ISSUERS to {"issuer URI": "its certificate.pem"}',
        )
    return Finding("user assertions", str(settings.xua_mode))


def _clock() -> Finding:
    now = datetime.now(UTC)
    if now.year < 2026:  # this release did not exist before
        return Finding("clock", f"{now:%Y-%m-%d %H:%M}Z", "set the clock; use NTP (ITI-1)")
    synchronised = _synchronised()
    if synchronised is None:
        return Finding(
            "clock", f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())}Z; no time service to ask"
        )
    return Finding(
        "clock",
        "synchronised" if synchronised else "not synchronised",
        "" if synchronised else "start NTP (ITI-1)",
    )


def _synchronised() -> bool | None:
    program = shutil.which("timedatectl")
    if program is None:
        return None
    try:
        asked = subprocess.run(  # noqa: S603  # a fixed program without input
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() == "yes" if asked.returncode == 0 and asked.stdout.strip() else None
