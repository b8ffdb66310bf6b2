"""Reports that messages brought to the imaging source: whether a person has to decide about some of them."""

from __future__ import annotations

from typing import Any

from shared.settings import SettingsError
from xdsi.checks.finding import Finding, doubtful, well
from xdsi.failures import Failed
from xdsi.publish import Source

_MOST = 1000
_SERVICE = "imaging-source"


async def reports(settings: Any) -> list[Finding]:
    """What is not registered and does not go by itself; nothing where it cannot be asked."""
    subject = "reports of the department"
    try:
        async with Source.open(settings) as source:
            undecided = await source.reports({"for_persons": True, "limit": _MOST})
    except (Failed, SettingsError, OSError):
        return []
    if not undecided:
        return [well("reports", subject, "nobody has to decide about one", _SERVICE)]
    return [
        doubtful(
            "reports",
            subject,
            f"{len(undecided)} are not registered beside their images, and a person has to decide",
            "xdsi reports --undecided tells which, and what helps",
            _SERVICE,
        )
    ]
