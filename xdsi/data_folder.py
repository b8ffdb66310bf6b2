"""The data folder belongs to the user of the services alone: made so, and one of an older release mended."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tempfile import TemporaryFile

from shared.settings import SettingsError
from shared.store.folders import PRIVATE_FOLDER, make_folder, mend
from xdsi.services import Service

CONFIG = "xdsi.toml"
LOGS = "log"
_BLOCK = 4096
#: What this product makes directly below a data folder.
OURS = frozenset({CONFIG, LOGS, "consumers", *(service.value for service in Service)})


def trouble(data: Path, said_by: str = "XDSI_DATA") -> str:
    """Why `data` cannot be used, or made, with the remedy; empty when it can. Nothing is made.

    `said_by` is the setting or option that names the folder.
    """
    folder = data.absolute()
    try:
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not place.is_dir():
            return f"{said_by}: {data} is, or lies below, a file; name a folder"
        # Rights, file systems that are read alone, and full ones: only trying tells.
        with TemporaryFile(dir=place) as file:
            file.write(bytes(_BLOCK))
    except PermissionError:
        return (
            f"{said_by}: {place} is not writable; chown it to the user of the service, or name another folder"
        )
    except OSError as error:
        return _unusable(data, said_by, error)
    return ""


def _unusable(data: Path, said_by: str, error: OSError) -> str:
    return f"{said_by}: {data} cannot be used ({error.strerror}); name a folder that can be written"


def claim(data: Path, *names: str, said_by: str = "XDSI_DATA") -> None:
    """Make the data folder, and close to others those of `OURS` in it that are named; all of them without.

    `said_by` is the setting or option that names the folder. The folder itself is closed too, unless it holds
    anything that is not ours: it may be somebody's home.

    Raises
    ------
    SettingsError
        It cannot be used, and why.
    """
    try:
        make_folder(data)
        if not os.access(data, os.W_OK | os.X_OK):
            raise PermissionError
        for name in names or OURS:
            mend(data / name)
        _close(data)
    except (FileExistsError, NotADirectoryError):
        raise SettingsError((f"{said_by}: {data} is, or lies below, a file; name a folder",)) from None
    except PermissionError as error:
        what = f"{error.filename} belongs to another user" if error.filename else f"{data} is not writable"
        raise SettingsError(
            (f"{said_by}: {what}; chown it to the user of the service, or name another folder",)
        ) from None
    except OSError as error:
        raise SettingsError((_unusable(data, said_by, error),)) from None


def _close(data: Path) -> None:
    status = data.stat()
    ours = status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX
    if ours and OURS.issuperset(entry.name for entry in data.iterdir()):
        data.chmod(PRIVATE_FOLDER)
