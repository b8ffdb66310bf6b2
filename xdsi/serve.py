"""`xdsi serve SERVICE`: one service in the foreground."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.settings import ServiceSettings, SettingsError
from shared.store.failures import DatabaseError
from shared.store.folders import FolderHeld
from shared.telemetry.otlp import Collector
from xdsi.checks.databases import setting_of
from xdsi.checks.start import refuse
from xdsi.configuration import load
from xdsi.loading import loading
from xdsi.readiness import tell_ready
from xdsi.services import Service


def command(
    service: Annotated[Service, typer.Argument(help="Which service.")],
    config: Annotated[Path | None, typer.Option(help="TOML file; the environment wins over it.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Processes that answer (registry); wins over XDSI_WORKERS."),
    ] = None,
    worker: Annotated[int | None, typer.Option(min=0, hidden=True)] = None,
) -> None:
    """Run one service in the foreground until SIGTERM or Ctrl-C; prints one line when it is ready.

    Settings come from XDSI_* variables or --config (docs/settings.md). Without TLS a service listens on
    loopback only.

    Example: [bold]XDSI_DATABASE_URL=postgresql://localhost/xdsi xdsi serve registry[/bold]
    """
    if service is not Service.REGISTRY:
        if worker is not None or (workers or 1) > 1:
            raise typer.BadParameter("only the registry has workers", param_hint="--workers")
        run(service, load(service.settings_class(), config))
        return
    changes: dict[str, Any] = {} if workers is None else {"workers": workers}
    settings: Any = load(service.settings_class(), config, **changes)
    if worker is not None:
        _run_worker(settings, worker)
    elif settings.workers > 1:
        from shared.telemetry.log import configure
        from xdsi.data_folder import claim
        from xdsi.workers import supervise

        refuse(service, settings)
        claim(settings.data, service.value)
        configure(service.value, level=settings.log_level)
        supervise(settings, config)
    else:
        run(service, settings)


def _run_worker(settings: Any, number: int) -> None:
    """One of several workers, started by `xdsi.workers`."""
    from registry.workers import Worker
    from shared.telemetry.metrics import share_metrics
    from xdsi.workers import end_with_parent, metrics_folder

    end_with_parent()
    share_metrics(metrics_folder(settings), number)
    run(Service.REGISTRY, settings, reuse_port=True, worker=Worker(number=number))


def run(service: Service, settings: ServiceSettings, *, reuse_port: bool = False, **changes: Any) -> None:
    """Serve until a signal comes; `SERVICE ready URL` on standard output says that requests are accepted.

    `changes` are given to the service's `build`.
    """
    with loading():
        from shared.http.server import run_service
        from shared.telemetry.log import configure
        from shared.telemetry.otlp import exporting
        from xdsi.data_folder import claim

        build: Any = importlib.import_module(f"{service.package}.app").build

    if service is Service.IMAGING_SOURCE:
        changes["examine"] = partial(_examined, service, settings)
    refuse(service, settings)
    claim(settings.data, service.value)
    configure(service.value, level=settings.log_level)
    scheme = "https" if settings.tls.enabled else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready(port: int) -> None:
        tell_ready(f"{service} ready {settings.public_url or f'{scheme}://{host}:{port}'}")

    try:
        with exporting(service.value, _collector(settings)):
            run_service(
                lambda: build(settings, **changes),
                settings,
                on_tls_failure=lambda running: running.node_refused,
                on_ready=ready,
                reuse_port=reuse_port,
            )
    except FolderHeld as error:
        raise SettingsError((f"XDSI_DATA: {error}",)) from error
    except DatabaseError as error:
        raise SettingsError((f"{setting_of(service)}: {error}",)) from error


async def _examined(service: Service, settings: ServiceSettings) -> list[Any]:
    """What the doctor finds of a service that runs, as its pages show it."""
    from imaging_source.domain.examination import Finding
    from xdsi.doctor import examine_running  # it knows every service, and is needed when somebody asks

    return [
        Finding(severity=str(one.severity), subject=one.subject, state=one.found, remedy=one.remedy)
        for one in await examine_running(service, settings)
    ]


def _collector(settings: ServiceSettings) -> Collector | None:
    """Where spans go."""
    if settings.otlp_url is None:
        return None
    tls = settings.tls
    return Collector(url=settings.otlp_url, trust=tls.trust, certificate=tls.certificate, key=tls.key)
