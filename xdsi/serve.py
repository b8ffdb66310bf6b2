"""`xdsi serve SERVICE`: one service in the foreground."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.settings import ServiceSettings


class Service(StrEnum):
    """The services that can be served."""

    REGISTRY = "registry"
    REPOSITORY = "repository"
    IMAGING_SOURCE = "imaging-source"
    CONSUMER = "consumer"
    AUDIT_REPOSITORY = "audit-repository"

    @property
    def package(self) -> str:
        """The Python package of the service."""
        return self.value.replace("-", "_")

    def settings_class(self) -> type[ServiceSettings]:
        """The class of its settings."""
        found: type[ServiceSettings] = importlib.import_module(f"{self.package}.settings").SETTINGS
        return found


def command(
    service: Annotated[Service, typer.Argument(help="Which service.")],
    config: Annotated[Path | None, typer.Option(help="TOML file; the environment wins over it.")] = None,
) -> None:
    """Run one service in the foreground until SIGTERM or Ctrl-C; prints one line when it is ready.

    Settings come from XDSI_* variables or --config (docs/settings.md). Without TLS a service listens on
    loopback only.

    Example: [bold]XDSI_DATABASE_URL=postgresql://localhost/xdsi xdsi serve registry[/bold]
    """
    run(service, service.settings_class().load(config))


def run(service: Service, settings: ServiceSettings) -> None:
    """Serve until a signal comes; `SERVICE ready URL` on standard output says that requests are accepted."""
    from shared.http.server import run_service
    from shared.telemetry.log import configure

    configure(service.value)
    build: Any = importlib.import_module(f"{service.package}.app").build
    scheme = "https" if settings.tls.enabled else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready(port: int) -> None:
        sys.stdout.write(f"{service} ready {settings.public_url or f'{scheme}://{host}:{port}'}\n")
        sys.stdout.flush()

    run_service(
        lambda: build(settings), settings, on_tls_failure=lambda running: running.node_refused, on_ready=ready
    )
