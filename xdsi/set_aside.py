"""`xdsi audit resend`: audit records that the audit repository did not take, sent again."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from shared.audit import resending
from shared.audit.connection import opened
from shared.audit.forwarder import address_of
from shared.audit.resending import Resent
from shared.settings import ServiceSettings
from xdsi.failures import Failed

# Of services and their workers, of consumers, and of the tools beside a service.
_FOLDERS = ("*", "consumers/*/*", "*/tools/*")


def set_aside(data: Path) -> list[Path]:
    """The records that were set aside below a data folder, the oldest first."""
    files = (file for folder in _FOLDERS for file in data.glob(f"{folder}/*-set-aside/*.record"))
    return sorted(files, key=lambda file: file.name)


async def sent_again(settings: ServiceSettings) -> Resent:
    """Send them to the audit repository of `settings`.

    Raises
    ------
    Failed
        It cannot be reached.
    """
    host, port, tls = address_of(settings)
    files, connect = set_aside(settings.data), partial(opened, host, port, tls)
    try:
        return await resending.resend(files, connect, rest_seconds=resending.REST_SECONDS)
    except (OSError, TimeoutError) as error:
        why = str(error) or type(error).__name__
        raise Failed(
            f"the audit repository at {settings.audit_url} cannot be reached ({why});"
            " what it had not taken stays where it is: start it, or name it with XDSI_AUDIT__URL"
        ) from None
