"""Certificates of the settings, and when each ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from imaging_source.pages.page import PageUnit, look_served, shown
from imaging_source.settings import ImagingSourceSettings
from shared.pages.browser import Browser
from shared.pages.page import PatientPage
from shared.security.peer_certificate import terms_of

#: Days before its end from which on a certificate is to be renewed.
SOON_DAYS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCertificate:
    """A certificate of a setting; `problem` says why it cannot be used, or is empty."""

    setting: str
    subject: str
    ends: str
    days: int
    problem: str = ""

    @property
    def is_well(self) -> bool:
        """Whether it can be used, and for some time to come."""
        return not self.problem and self.days >= SOON_DAYS


def certificates_of(settings: ImagingSourceSettings) -> Iterator[ShownCertificate]:
    """Every certificate that the settings name, in their order; blocks."""
    for setting, path in _files(settings):
        if path is None:
            continue
        try:
            terms = terms_of(path)
        except (OSError, ValueError):
            problem = f"{path} holds no readable PEM certificate"
            yield ShownCertificate(setting=setting, subject="", ends="", days=0, problem=problem)
            continue
        now = datetime.now(UTC)
        for term in terms:
            problem = (
                "it has ended" if term.ends <= now else "it is not valid yet" if term.begins > now else ""
            )
            yield ShownCertificate(
                setting=setting,
                subject=term.subject or "a certificate without a name",
                ends=f"{term.ends:%Y-%m-%d}",
                days=max(0, (term.ends - now).days),
                problem=problem,
            )


def _files(settings: ImagingSourceSettings) -> Iterator[tuple[str, Path | None]]:
    yield "XDSI_TLS__CERTIFICATE", settings.tls.certificate
    yield "XDSI_TLS__TRUST", settings.tls.trust
    for issuer, path in settings.assertion.issuers.items():
        yield f"XDSI_ASSERTION__ISSUERS {issuer}", path
    yield "XDSI_ASSERTION__CERTIFICATE", settings.assertion.certificate


async def certificates(unit: PageUnit, browser: Browser) -> PatientPage:
    """Show them, those that end first at the top."""
    every = await asyncio.to_thread(lambda: [*certificates_of(unit.parts.service.settings)])
    every.sort(key=lambda one: (not one.problem, one.days))
    return await shown(unit, "certificates.html", browser, certificates=every, soon=SOON_DAYS)


SERVED = (look_served(name="Certificates", route="GET /certificates", handle=certificates),)
