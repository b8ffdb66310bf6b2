"""The one place where what ended a command becomes a sentence: what, where it was said, what would be right.

The errors that people cause say so themselves; this knows their tree. What it does not know is a mistake of
ours: its trace is written where the user can find it and nobody else can read it.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

from shared.audit.recorder import AuditUnavailable
from shared.dicom.data_set import DicomError
from shared.dicom.kos import ManifestError
from shared.errors import Actor, Rejected, XdsError
from shared.faults import SoapFault
from shared.http.client import EgressRefused
from shared.settings import SettingsError
from shared.settings.text import without_passwords
from shared.soap.client import PeerError
from shared.store.backup import BackupError
from shared.store.failures import DatabaseError
from xdsi.failures import Failed

#: Their texts are sentences.
_SPEAKING = (
    Failed,
    SettingsError,
    AuditUnavailable,
    BackupError,
    DicomError,
    EgressRefused,
    ManifestError,
    PeerError,
)


def told(error: Exception) -> str:
    """What went wrong, in one line for each mistake, without a secret."""
    return without_passwords(sentence_of(error) or _ours(error))


def sentence_of(error: Exception) -> str:
    """The sentence of a mistake that is known; empty for one of our own."""
    if isinstance(error, _SPEAKING):
        return str(error)
    if isinstance(error, DatabaseError):
        return f"XDSI_DATABASE_URL: {error}"
    if isinstance(error, Rejected):
        return "; ".join(map(_of_standard, error.errors))
    if isinstance(error, XdsError):
        return _of_standard(error)
    if isinstance(error, SoapFault):
        return f"the message was refused: {error.reason}"
    if isinstance(error, OSError) and error.strerror:
        at = f"{error.filename}: " if error.filename else ""
        return f"{at}{error.strerror}; {_remedy(error)}"
    return ""


def _of_standard(error: XdsError) -> str:
    return f"{error.code_for(Actor.REGISTRY)}: {error.context}"


def _remedy(error: OSError) -> str:
    match error:
        case FileNotFoundError() | NotADirectoryError() | IsADirectoryError() | FileExistsError():
            return "name another path"
        case PermissionError():
            return "let this user at it, or name another path"
        case ConnectionError() | TimeoutError():
            return "is the other side running?"
    return "see that there is space, and that files and network can be used"


def _ours(error: Exception) -> str:
    what = f"a mistake of xdsi itself ({type(error).__name__})"
    if sys.excepthook is not sys.__excepthook__ and sys.excepthook.__module__ == "shared.telemetry.log":
        # A service: kind and place go to its log, which takes no text that could speak of a patient.
        sys.excepthook(type(error), error, error.__traceback__)
        return f"{what}; where it happened stands in the log above: please report it"
    descriptor, name = tempfile.mkstemp(prefix="xdsi-trace-", suffix=".txt")
    trace = "".join(traceback.format_exception(error))
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(without_passwords(trace))
    return f"{what}; the trace is in {name}: please report it, it may speak of patients"
