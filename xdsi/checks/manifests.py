"""Published manifests of the imaging source: whether a person has to decide about some of them."""

from __future__ import annotations

from typing import Any

from shared.settings import SettingsError
from xdsi.checks.finding import Finding, doubtful, well
from xdsi.failures import Failed
from xdsi.publish import Source

_MOST = 1000
_SERVICE = "imaging-source"


async def manifests(settings: Any) -> list[Finding]:
    """What the drift watch found and cannot mend; nothing where it cannot be asked."""
    subject = "published manifests"
    try:
        async with Source.open(settings) as source:
            drifted = await source.publications({"for_persons": True, "limit": _MOST})
    except (Failed, SettingsError, OSError):
        return []
    if not drifted:
        return [well("manifests", subject, "nobody has to decide about one", _SERVICE)]
    kinds = sorted({kind for one in drifted for kind in one["drift"]["kinds"]})
    return [
        doubtful(
            "manifests",
            subject,
            f"{len(drifted)} are not true any more ({', '.join(kinds)}), and a person has to decide",
            "xdsi publications --drifted tells which, and what helps",
            _SERVICE,
        )
    ]
