"""Ports: free, ours and ready, or taken by somebody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx2

from shared.audit.connection import reason_of
from shared.http.client import http_client
from shared.security.certificate_check import certificate_known
from shared.security.tls import client_context
from shared.settings import PREFIX, SEPARATOR, ServiceSettings, SettingsError, TlsSettings
from xdsi.checks.finding import Finding, of_problem, well, wrong
from xdsi.services import Service

_ANSWER_SECONDS = 6.0
#: A C-ECHO takes no longer; the listener closes what is silent.
_ECHO_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Listener:
    """A port of a service, by the name of its setting."""

    setting: str
    port: int
    #: Asks whoever listens there whether it speaks what this port speaks: why not, or nothing.
    speaks: Callable[[str, int, ServiceSettings], Coroutine[Any, Any, str]]
    kind: socket.SocketKind = socket.SOCK_STREAM
    #: The setting of its address.
    host_setting: str = "host"

    def host(self, settings: ServiceSettings) -> str:
        """The address at which it listens."""
        return str(getattr(settings, self.host_setting))

    def at(self, settings: ServiceSettings) -> str:
        """Where it listens, in words."""
        return f"{self.host(settings)} port {self.port}"


def listeners(settings: Any) -> list[Listener]:
    """The ports on which the service of these settings listens, that of HTTP first."""
    all_listeners = [Listener("port", settings.port, _connects)]
    if hasattr(settings, "feed_port"):
        all_listeners.append(Listener("mllp_port", settings.feed_port, _connects))
    if getattr(settings, "hl7_port", None) is not None:
        all_listeners.append(Listener("hl7_port", settings.hl7_port, _connects))
    if hasattr(settings, "dimse_port"):
        all_listeners.append(Listener("dimse_port", settings.dimse_port, _echoes))
    if hasattr(settings, "syslog_port"):
        all_listeners.append(Listener("syslog_port", settings.syslog_port, _connects))
    if getattr(settings, "udp", False):
        all_listeners.append(Listener("udp_port", settings.udp_port, _is_silent, socket.SOCK_DGRAM))
    if settings.health_port is not None:
        health = Listener("health_port", settings.health_port, _connects_plainly, host_setting="health_host")
        all_listeners.append(health)
    return all_listeners


async def ports(service: Service, settings: ServiceSettings) -> list[Finding]:
    """What is at each port of the service."""
    first, *others = listeners(settings)
    finding, is_ours = await _http(service, settings, first)
    return [finding, *[await _other(service, settings, one, is_ours) for one in others]]


def is_free(settings: ServiceSettings, listener: Listener) -> bool:
    """Whether the service could listen there now.

    Raises
    ------
    SettingsError
        It could not, for another reason than that somebody does.
    """
    return _refused(settings, listener) is None


def _refused(settings: ServiceSettings, listener: Listener) -> str | None:
    """Why the port cannot be listened on, as `serve` would say it."""
    host = listener.host(settings)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with (
            settings.listening(listener.setting, listener.port),
            socket.socket(family, listener.kind) as probe,
        ):
            if listener.kind is socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, listener.port))
    except SettingsError as error:
        return error.problems[0]
    return None


async def _http(service: Service, settings: ServiceSettings, listener: Listener) -> tuple[Finding, bool]:
    name = subject(service, listener)
    problem = _refused(settings, listener)
    if problem is None:
        return well("port", name, _free(settings, listener), service), False
    if " is in use" not in problem:
        return of_problem("port", problem, service), False
    status, answer = await _health(settings)
    if answer is None or answer.get("service") not in (service.value, service.package):
        other = answer and answer.get("service")
        by = f" by the {other} of an xdsi" if other else ""
        return of_problem("port", problem.replace(" is in use", f" is in use{by}", 1), service), False
    at = f"{settings.host} port {listener.port}"
    if status == 200:
        return well("port", name, f"{at}: ours, ready", service), True
    reasons = answer.get("reasons") or {}
    text = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "it says no reason"
    return wrong(
        "port",
        name,
        f"{at}: ours, not ready: {text}",
        f"mend what it says; /health/ready of the {service} tells when it is ready",
        service,
    ), True


async def _health(settings: ServiceSettings) -> tuple[int, dict[str, Any] | None]:
    """What the service at our own address says of itself; None when nobody speaks so there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104  # to call it
    shown = f"[{host}]" if ":" in host else host
    base = f"{'https' if settings.tls.enabled else 'http'}://{shown}:{settings.port}"
    tls = settings.tls.model_copy(update={"check_host_names": False})
    try:
        async with http_client(tls, peers=(base,), timeout_seconds=_ANSWER_SECONDS) as http:
            response = await http.get(f"{base}/health/ready")
            content = response.json()
    except (httpx2.HTTPError, ValueError, OSError, SettingsError):
        return 0, None
    return response.status_code, content if isinstance(content, dict) else None


async def _other(service: Service, settings: ServiceSettings, listener: Listener, is_ours: bool) -> Finding:
    name = subject(service, listener)
    problem = _refused(settings, listener)
    if problem is None and is_ours:
        return wrong(
            "port",
            name,
            f"nobody listens at {listener.at(settings)}, though the {service} runs",
            f"restart the {service}: it was started with another {name}",
            service,
        )
    if problem is None:
        return well("port", name, _free(settings, listener), service)
    if " is in use" not in problem or not is_ours:
        return of_problem("port", problem, service)
    if reason := await listener.speaks(listener.host(settings), listener.port, settings):
        return wrong("port", name, reason, f"restart the {service}, or choose another port", service)
    return well("port", name, f"{listener.at(settings)}: ours, ready", service)


def subject(service: Service, listener: Listener) -> str:
    """The setting of a listener under the name that is its service's alone."""
    return f"{PREFIX}{service.package.upper()}{SEPARATOR}{listener.setting.upper()}"


def _free(settings: ServiceSettings, listener: Listener) -> str:
    return f"{listener.at(settings)}: free" if listener.port else "a free one is taken"


# --- who listens -------------------------------------------------------------------------------------


async def _connects_plainly(host: str, port: int, settings: ServiceSettings) -> str:
    return await _connects(host, port, settings.model_copy(update={"tls": TlsSettings()}))


async def _connects(host: str, port: int, settings: ServiceSettings) -> str:
    context = client_context(settings.tls) if settings.tls.enabled else None
    if context is not None:
        context.check_hostname = False
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            await certificate_known(writer.transport)
    except (OSError, ssl.SSLError, TimeoutError) as error:
        return f"who listens at {host} port {port} does not speak with us ({reason_of(error)})"
    # It was asked for nothing, so there is nothing to take leave of.
    writer.transport.abort()
    return ""


async def _echoes(host: str, port: int, settings: Any) -> str:
    return await asyncio.to_thread(_echo, host, port, settings)


def _echo(host: str, port: int, settings: Any) -> str:
    """C-ECHO (PS3.4 annex A) under an AE title that may call."""
    from pynetdicom.ae import ApplicationEntity

    from shared.dicom.uids import VERIFICATION

    table = settings.application_entities
    titles = [title for title in table if table[title].certificate is None] + [*settings.calling_ae_titles]
    entity = ApplicationEntity(titles[0] if titles else settings.ae_title)
    entity.add_requested_context(VERIFICATION)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = (
        _ECHO_SECONDS
    )
    tls = None
    if settings.tls.enabled:
        context = client_context(settings.tls)
        context.check_hostname = False
        tls = (context, host)
    association = entity.associate(host, port, ae_title=settings.ae_title, tls_args=tls)
    if association.is_rejected and not titles and table:
        return ""  # every title belongs to a node, and none of them is this one; who rejects so speaks DICOM
    if not association.is_established:
        return f"who listens at {host} port {port} takes no association for {settings.ae_title}"
    try:
        status = association.send_c_echo()
    finally:
        association.release()
    code = getattr(status, "Status", None)
    return "" if code == 0 else f"C-ECHO at {host} port {port} ended with status {code}"


async def _is_silent(host: str, port: int, settings: ServiceSettings) -> str:
    return ""
