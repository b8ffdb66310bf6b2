"""Who foreign patients are here: a table in a file that operators change while instances come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from imaging_source.domain.intake import PROCESSING_FAILURE, Refused
from imaging_source.domain.patient_table import ForeignId, Unlisted, WrongTable, decode_table
from imaging_source.store.index import claim_of
from shared.imaging.instance import Instance
from shared.imaging.local_identity import LocalIdentity
from shared.security.file_watch import FileWatch
from shared.telemetry.log import logger

_log = logger(__name__)

#: Of what is kept under other identifiers, to its sender.
COERCED: Final = "it is kept under the identifiers of its patient here, and what came is kept beside it"
_LOOK_SECONDS: Final = 2.0
_MOST_BYTES: Final = 64 * 1024**2


class LocalPatients:
    """The table at `path`, as it is now; nobody is listed without. `own_issuers` are names and ids of ours.

    Raises
    ------
    WrongTable
        The file cannot be used at the start. One that is spoiled later is told in the log, and the table
        before holds on.
    """

    def __init__(
        self,
        path: Path | None = None,
        unlisted: Unlisted = Unlisted.KEEP,
        own_issuers: Iterable[str] = (),
    ) -> None:
        self._path = path
        self._unlisted = unlisted
        self._own_issuers = frozenset(own_issuers) | {""}
        self._watch = FileWatch([path], look_seconds=_LOOK_SECONDS)
        self._table: Mapping[ForeignId, LocalIdentity] = read_table(path) if path is not None else {}

    def identity_of(self, instance: Instance) -> LocalIdentity | None:
        """Who the patient of an instance is here; None where that is said by the instance itself.

        Raises
        ------
        Refused
            The patient is another domain's, is not listed, and such are refused.
        """
        if self._path is None and self._unlisted is Unlisted.KEEP:
            return None
        if self._path is not None and self._watch.changed():
            self._read_again(self._path)
        issuer = instance.issuer_of_patient_id
        names = [name for name in (issuer.universal_id, issuer.local) if name] or [""]
        for name in names:
            if (local := self._table.get((instance.patient_id, name))) is not None:
                return local
        if self._unlisted is Unlisted.REFUSE and self._own_issuers.isdisjoint(names):
            raise Refused(PROCESSING_FAILURE, "nobody said who this patient is here", claim_of(instance))
        return None

    def _read_again(self, path: Path) -> None:
        try:
            self._table = read_table(path)
        except WrongTable as error:
            _log.error("the table of patients cannot be read; the one before holds on", reason=str(error))
        else:
            _log.warning("the table of patients was changed", patients=len(self._table))


def read_table(path: Path) -> Mapping[ForeignId, LocalIdentity]:
    """The table in a file; raises `WrongTable`."""
    try:
        with path.open("rb") as file:
            octets = file.read(_MOST_BYTES + 1)
        if len(octets) > _MOST_BYTES:
            raise WrongTable(f"{path} is larger than {_MOST_BYTES} bytes")
        content = json.loads(octets)
    except OSError as error:
        raise WrongTable(f"{path} cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise WrongTable(f"{path} is not JSON") from None
    try:
        return decode_table(content)
    except WrongTable as error:
        raise WrongTable(f"{path}: {error}") from None


def source_of(instance: Instance) -> str:
    """From where an instance came, for its history: who issued its patient's id."""
    issuer = instance.issuer_of_patient_id
    return issuer.local or issuer.universal_id or "unknown"
