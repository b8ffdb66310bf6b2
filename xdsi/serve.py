"""`xdsi serve SERVICE`: one service in the foreground."""

from __future__ import annotations

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.settings import ServiceSettings
from xdsi.workers import end_with_parent, supervise


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
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer (XDSI_WORKERS); the registry's.")
    ] = None,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run one service in the foreground until SIGTERM or Ctrl-C; prints one line when it is ready.

    Settings come from XDSI_* variables or --config (docs/settings.md). Without TLS a service listens on
    loopback only. The registry may run in several processes; on SQLite one of them writes.

    Examples:

    [bold]XDSI_DATABASE_URL=postgresql://localhost/xdsi xdsi serve registry[/bold]

    [bold]xdsi serve registry --workers 4[/bold]
    """
    settings = service.settings_class().load(config)
    if workers is not None:
        settings = with_workers(service, settings, workers)
    if worker is not None:
        end_with_parent()
        run(service, settings, worker=worker)
    elif getattr(settings, "workers", 1) > 1:
        supervise(service, settings, config)
    else:
        run(service, settings)


def with_workers(service: Service, settings: ServiceSettings, workers: int) -> ServiceSettings:
    """The settings for so many processes."""
    if "workers" not in type(settings).model_fields:
        if workers > 1:
            raise typer.BadParameter(f"{service} runs in one process; only the registry has workers")
        return settings
    return settings.model_copy(update={"workers": workers})


def url_of(settings: ServiceSettings, port: int) -> str:
    """Where the service is found."""
    scheme = "https" if settings.tls.enabled else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return settings.public_url or f"{scheme}://{host}:{port}"


def run(service: Service, settings: ServiceSettings, *, worker: int | None = None) -> None:
    """Serve until a signal comes; `SERVICE ready URL` on standard output says that requests are accepted.

    `worker` is the number of this process among several that listen on the same port.
    """
    from shared.http.server import run_service
    from shared.telemetry.log import configure

    configure(service.value)
    build: Any = importlib.import_module(f"{service.package}.app").build
    numbered = {} if worker is None else {"worker": worker}

    def ready(port: int) -> None:
        sys.stdout.write(f"{service} ready {url_of(settings, port)}\n")
        sys.stdout.flush()

    run_service(
        lambda: build(settings, **numbered),
        settings,
        on_tls_failure=lambda running: running.node_refused,
        on_ready=ready,
        reuse_port=worker is not None,
    )
