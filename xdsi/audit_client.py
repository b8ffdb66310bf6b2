"""How the commands of `xdsi audit` ask the audit repository, and the words by which they are told of what."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx2
import typer

from audit_repository.settings import AuditRepositorySettings
from shared.http.client import EgressRefused
from xdsi.failures import Failed, WrongUsage

_AGO = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


Url = Annotated[
    str, typer.Option(help="Where the audit repository is.", show_default="http(s)://127.0.0.1:8050")
]
Since = Annotated[
    str, typer.Option(help="From then on: 2030-05-04, 2030-05-04T09:15Z, or 90d, 12h, 30m ago.")
]
Until = Annotated[str, typer.Option(help="Before then, written likewise.")]


def complete(patient: str, settings: AuditRepositorySettings) -> str:
    """A bare patient id as a CX of the affinity domain."""
    if not patient or "^" in patient:
        return patient
    return f"{patient}^^^&{settings.affinity_domain}&ISO"


def moment(text: str, option: str, now: datetime | None = None) -> datetime | None:
    """A time as it is typed: ISO 8601, local when it has no zone, or so long ago."""
    if not text:
        return None
    if ago := _AGO.fullmatch(text):
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise WrongUsage(
            f"{option} {text}: write a time as 2030-05-04, 2030-05-04T09:15Z, or 90d, 12h, 30m"
        ) from None


def base_of(settings: AuditRepositorySettings, url: str) -> str:
    """The address of the audit repository: `url`, or what the settings say."""
    scheme = "https" if settings.tls.enabled else "http"
    base = (url or settings.public_url or f"{scheme}://{settings.host}:{settings.port}").rstrip("/")
    if not re.match(r"https?://[^/]", base):
        raise WrongUsage(f"--url {base}: write it as http://host:8050 or https://host:8050")
    return base


async def post(http: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer of the audit repository; raises `Failed` with its reason."""
    try:
        response = await http.post(url, json=body)
    except (httpx2.HTTPError, EgressRefused, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise Failed(
            f"the audit repository at {url} cannot be reached ({reason}); start it or give --url"
        ) from None
    if response.status_code == httpx2.codes.SERVICE_UNAVAILABLE:
        raise Failed(f"the audit repository cannot answer now: {detail(response)}")
    if response.status_code != 200:
        raise Failed(f"the audit repository refused: {detail(response)}")
    answer: dict[str, Any] = response.json()
    return answer


def detail(response: httpx2.Response) -> str:
    """Why it refused, in its words."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {response.status_code}"
