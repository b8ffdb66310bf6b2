"""What pages keep for who brings a number: sealed, bounded, for a time, and there after a restart.

It lies in a file of SQLite in the data folder of a service, which several processes may have open, or in
memory where there is no folder. A number is a secret and is kept as its digest; what it leads to is sealed by
a key that lies beside the file and is for the user of the service alone. The file is worth nothing for long:
what another release left, or a fault, is made anew.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.store.folders import PRIVATE_FILE, make_folder, sync
from shared.telemetry.log import logger

_log = logger(__name__)

_FILE: Final = "pages.db"
_KEY: Final = "pages.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_FORM: Final = 1
_BUSY_SECONDS: Final = 5.0

_TABLE = """CREATE TABLE kept (
    kind TEXT NOT NULL, key TEXT NOT NULL, holder TEXT NOT NULL, began REAL NOT NULL,
    used REAL NOT NULL, content BLOB NOT NULL, PRIMARY KEY (kind, key)
)"""
_COLUMNS = "key, began, used, content"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptItem:
    """What a number leads to, by the digest of the number; times are seconds since 1970."""

    key: str
    began: float
    used: float
    content: bytes


class Shelf:
    """What is kept below `folder`, or in memory alone; every method takes a moment and blocks.

    Of writing processes one goes after the other, and what one takes away no other takes.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._secret = secrets.token_bytes(_KEY_BYTES) if folder is None else _secret(folder / _KEY)
        self._cipher = AESGCM(self.key("kept"))
        # The loop reads, threads sweep.
        self._lock = threading.Lock()
        self._connection = _opened(None if folder is None else folder / _FILE)

    def key(self, purpose: str) -> bytes:
        """A key for another purpose, the same in every process of this folder."""
        return hmac.digest(self._secret, purpose.encode(), "sha256")

    def put(
        self,
        kind: str,
        number: str,
        content: bytes,
        *,
        now: float,
        most: int,
        holder: str = "",
        each: int = 0,
    ) -> bool:
        """Keep `content` for who brings `number`; False where `most` of this kind are kept.

        Where a `holder` has `each` of them, the oldest of these makes room.
        """
        key, owner = _digest(number), _digest(holder)
        with self._writing() as connection:
            if each:
                connection.execute(
                    "DELETE FROM kept WHERE kind = ?1 AND key IN (SELECT key FROM kept WHERE kind = ?1"
                    " AND holder = ?2 ORDER BY rowid DESC LIMIT -1 OFFSET ?3)",
                    (kind, owner, each - 1),
                )
            (number_kept,) = connection.execute(
                "SELECT count(*) FROM kept WHERE kind = ?", (kind,)
            ).fetchone()
            if number_kept >= most:
                return False
            connection.execute(
                "INSERT INTO kept VALUES (?, ?, ?, ?, ?, ?)",
                (kind, key, owner, now, now, self._sealed(kind, key, content)),
            )
        return True

    def get(self, kind: str, number: str) -> KeptItem | None:
        """What a number leads to, which stays; None where that is nothing."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM kept WHERE kind = ? AND key = ?", kind, _digest(number))  # noqa: S608
        return next(self._items(kind, rows), None)

    def take(self, kind: str, number: str) -> KeptItem | None:
        """The same, for the only time."""
        rows = self._rows(
            f"DELETE FROM kept WHERE kind = ? AND key = ? RETURNING {_COLUMNS}",  # noqa: S608
            kind,
            _digest(number),
        )
        return next(self._items(kind, rows), None)

    def take_ended(self, kind: str, *, used_until: float, began_until: float) -> list[KeptItem]:
        """Take away what was used last, or began, by these times."""
        rows = self._rows(
            f"DELETE FROM kept WHERE kind = ? AND (used <= ? OR began <= ?) RETURNING {_COLUMNS}",  # noqa: S608
            kind,
            used_until,
            began_until,
        )
        return list(self._items(kind, rows))

    def use(self, kind: str, times: Mapping[str, float]) -> None:
        """Note when the items of these keys were used last."""
        with self._writing() as connection:
            connection.executemany(
                "UPDATE kept SET used = max(used, ?3) WHERE kind = ?1 AND key = ?2",
                [(kind, key, used) for key, used in times.items()],
            )

    def count(self, kind: str) -> int:
        """How many of a kind are kept."""
        ((number,),) = self._rows("SELECT count(*) FROM kept WHERE kind = ?", kind)
        return int(number)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def _rows(self, statement: str, *values: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def _sealed(self, kind: str, key: str, content: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, f"{kind} {key}".encode())

    def _items(self, kind: str, rows: Iterable[Any]) -> Iterator[KeptItem]:
        """What can be opened: what another key sealed, or somebody moved, is nobody's."""
        for key, began, used, sealed in rows:
            try:
                content = self._cipher.decrypt(
                    sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], f"{kind} {key}".encode()
                )
            except (InvalidTag, ValueError):
                continue
            yield KeptItem(key=key, began=began, used=used, content=content)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _secret(path: Path) -> bytes:
    """The key in a file, which is made where it is absent; of processes that make it at once one wins."""
    make_folder(path.parent)
    if not path.exists():
        own = path.with_name(f"{path.name}.{os.getpid()}")
        own.unlink(missing_ok=True)
        with os.fdopen(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(own, path)
        except FileExistsError:
            pass
        finally:
            own.unlink()
        sync(path.parent)
    return path.read_bytes()


def _opened(path: Path | None) -> sqlite3.Connection:
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        if path is None or isinstance(error, sqlite3.OperationalError):
            raise
        _log.error("what pages kept cannot be read and is given up", path=str(path), exc_info=error)
        path.unlink()
        return _connected(path)


def _connected(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE_FILE))
    connection = sqlite3.connect(
        ":memory:" if path is None else path,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    # Rolled back: a log that several processes reset is not safe in every release of SQLite.
    connection.execute("PRAGMA journal_mode = TRUNCATE")
    connection.execute("PRAGMA secure_delete = ON")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() != (_FORM,):
            connection.execute("DROP TABLE IF EXISTS kept")
            connection.execute(_TABLE)
            connection.execute(f"PRAGMA user_version = {_FORM}")
    return connection
