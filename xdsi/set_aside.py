"""`xdsi audit resend`: audit records that an audit repository did not take, sent to it again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from shared.audit import resending
from shared.audit.connection import opened
from shared.audit.delivery import AuditDestination, destinations
from shared.audit.resending import Resent
from shared.settings import ServiceSettings
from xdsi.failures import Failed

# Of services and their workers, of consumers, and of the tools beside a service.
_FOLDERS = ("*", "consumers/*/*", "*/tools/*")


def set_aside(data: Path) -> list[Path]:
    """The records that were set aside below a data folder, the oldest first."""
    files = (file for folder in _FOLDERS for file in data.glob(f"{folder}/*-set-aside/**/*.record"))
    return sorted(files, key=lambda file: file.name)


async def sent_again(settings: ServiceSettings) -> Resent:
    """Send each to the audit repository of `settings` that did not take it.

    Raises
    ------
    Failed
        One cannot be reached; the others have had theirs.
    """
    resent, away = Resent(), []
    for destination, files in _by_destination(settings):
        connect = partial(opened, destination.host, destination.port, destination.tls)
        try:
            of_one = await resending.resend(files, connect, rest_seconds=resending.REST_SECONDS)
        except (OSError, TimeoutError) as error:
            away.append(f"{destination.url} cannot be reached ({str(error) or type(error).__name__})")
        else:
            resent.taken.extend(of_one.taken)
            resent.refused.extend(of_one.refused)
    if away:
        raise Failed(
            f"the audit repository at {', nor that at '.join(away)};"
            " what it had not taken stays where it is: start it, or name it with XDSI_AUDIT__URL"
        )
    return resent


def _by_destination(settings: ServiceSettings) -> list[tuple[AuditDestination, Sequence[Path]]]:
    """Whose each record is: its folder says so; what nobody named has any more is for the first."""
    first, *others = destinations(settings)
    files = set_aside(settings.data)
    of_others = {one.name: [file for file in files if file.parent.name == one.name] for one in others}
    of_first = [file for file in files if file.parent.name not in of_others]
    return [(first, of_first), *((one, of_others[one.name]) for one in others)]
