"""Contents as objects of an S3-compatible store, addressed by their SHA-256.

An upload is a new object, `ab/<sha256>/<name>`, and none is ever written twice: what somebody takes for
unused is never what an upload of the same bytes acknowledges meanwhile. Every call has a deadline. A store
that cannot be asked is told by a sentence that names the setting to correct; its own words are not told.
"""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

PART_BYTES: Final = 8 * 1024**2
RANGE_BYTES: Final = 4 * 1024**2
"""An object is read in ranges of this size, each a call of its own: a slow reader holds no connection, and a
broken one is taken up where it broke."""
RANGES_AHEAD: Final = 4
"""So many ranges of one object are asked for at a time."""
AHEAD_BYTES: Final = 256 * 1024**2
"""Most bytes that a process reads ahead of those who take them; beyond it each is read when it is needed."""

_FOLDER: Final = 2
_CONCURRENT_PARTS: Final = 2
_GETS: Final = 16
_ASKED_AT_ONCE: Final = 16
_CONNECT_SECONDS: Final = 5
_CALL_SECONDS: Final = 30
_RETRIES: Final = 3
_RETRY_SECONDS: Final = 20
# An upload may take as long as one call, and as long as a slow line (2 MB/s) needs for the bytes.
_SLOWEST_BYTES_PER_SECOND: Final = 2_000_000

_log = logging.getLogger(__name__)

# What obstore raises; for some of its errors it has taken those of the system.
_REFUSED: Final = (BaseError, FileNotFoundError, PermissionError)
# What its errors say, in words that are not told.
_CERTIFICATE: Final = re.compile(r"invalid peer certificate|UnknownIssuer|certificate verify failed", re.I)
_NO_SUCH_RANGE: Final = "416"
_STATUS: Final = re.compile(r"status code:? (\d{3})")
_ABSENT: Final = (NotFoundError, FileNotFoundError)
_FORBIDDEN: Final = (PermissionDeniedError, UnauthenticatedError, PermissionError)


class ObjectsUnavailable(Exception):
    """The store cannot be asked now; the text tells why, and which setting would be corrected.

    `settled` tells that it will not become better by waiting, `setting` which one is wrong, where that is not
    the one by which the store is named, `status` what it answered by HTTP, empty when it did not.
    """

    def __init__(self, why: str, *, settled: bool = False, setting: str = "", status: str = "") -> None:
        super().__init__(f"the object store {why}")
        self.settled = settled
        self.setting = setting
        self.status = status


class ObjectLost(Exception):
    """There is no such object any more, or it has not the size that it had."""


class S3Access(Protocol):
    """How an S3-compatible store is reached; settings are so."""

    @property
    def endpoint(self) -> str | None:
        """Its URL; that of AWS without."""
        ...

    @property
    def region(self) -> str:
        """Part of every signature."""
        ...

    @property
    def access_key(self) -> str | None:
        """Whose calls they are."""
        ...

    @property
    def secret_key(self) -> str | None:
        """By which calls are signed."""
        ...

    @property
    def trust(self) -> Path | None:
        """PEM file with the authority of its certificate."""
        ...

    @property
    def allow_http(self) -> bool:
        """Whether the endpoint may be http://."""
        ...


Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ObjectCopy:
    """One object with the bytes of a digest: its `size` at rest, and when it was `written`, in seconds since
    1970."""

    key: str
    size: int
    written: float


class Objects:
    """The objects below the prefix of `url`, `s3://bucket/prefix/below`.

    Raises
    ------
    OSError, ValueError
        What `access` names cannot be used.
    """

    def __init__(self, url: str, access: S3Access, *, below: str = "", retries: int | None = None) -> None:
        self._store = _store(url, access, below, _RETRIES if retries is None else retries)
        self._checking: asyncio.Future[None] | None = None

    # --- writing -----------------------------------------------------------------------------------------

    async def put(self, sha256: str, name: str, source: Path) -> ObjectCopy:
        """Upload a file as a new object.

        Raises
        ------
        ObjectsUnavailable
            It was not taken, as far as is known; it may be there.
        OSError
            The file cannot be read.
        """
        key, size = self.key(sha256, name), source.stat().st_size
        call = obstore.put_async(
            self._store,
            key,
            source if size else b"",
            use_multipart=size > PART_BYTES,
            chunk_size=PART_BYTES,
            max_concurrency=_CONCURRENT_PARTS,
        )
        try:
            await asyncio.wait_for(call, _deadline(size))
        except (*_REFUSED, TimeoutError) as error:
            raise _unavailable(error) from error
        return ObjectCopy(key, size, time.time())

    def key(self, sha256: str, name: str) -> str:
        """The key of an object with these bytes."""
        return f"{_folder(sha256)}{name}"

    async def discard(self, key: str) -> None:
        """Remove an object; what cannot be removed now is found by a sweep."""
        try:
            await asyncio.wait_for(obstore.delete_async(self._store, key), _CALL_SECONDS)
        except (*_REFUSED, TimeoutError) as error:
            _log.warning("an object is not removed: %s", _unavailable(error))

    def probe(self) -> None:
        """Write, read back and remove a small object; blocks.

        Raises
        ------
        ObjectsUnavailable
            The store does not do what is asked.
        """
        key = f"probe/{uuid4().hex}"

        def work() -> bytes:
            obstore.put(self._store, key, b"probe")
            octets = bytes(obstore.get(self._store, key).bytes())
            obstore.delete(self._store, key)
            return octets

        if self._asked(work) != b"probe":
            raise ObjectsUnavailable("gave back other bytes than it was given")

    async def check(self) -> None:
        """`probe`, aside from the event loop; whoever asks meanwhile gets the same answer: however often it
        is asked, one waits for a store that is away."""
        if self._checking is None or self._checking.done():
            self._checking = asyncio.ensure_future(in_thread(self.probe))
            self._checking.add_done_callback(lambda checked: checked.cancelled() or checked.exception())
        await asyncio.shield(self._checking)

    # --- reading -----------------------------------------------------------------------------------------

    def copies(self, sha256: str) -> list[ObjectCopy]:
        """The objects with these bytes, the newest first; blocks.

        Raises
        ------
        ObjectsUnavailable
            The store cannot be asked.
        """
        return sorted(self._listed(_folder(sha256)), key=lambda one: one.written, reverse=True)

    def reading(self, one: ObjectCopy) -> Reading:
        """The bytes of an object; asking for them begins at once."""
        return Reading(partial(self._range, one.key), one.size)

    def _range(self, key: str, start: int, end: int) -> memoryview:
        try:
            return self._asked(lambda: memoryview(obstore.get_range(self._store, key, start=start, end=end)))
        except ObjectsUnavailable as error:
            if isinstance(error.__cause__, _ABSENT) or error.status == _NO_SUCH_RANGE:
                raise ObjectLost("there is no such object, or no such part of it") from error
            raise

    # --- sweeping ----------------------------------------------------------------------------------------

    def folders(self) -> list[str]:
        """The first two digits of the digests that have objects; blocks, and raises as `copies`."""
        listed = self._asked(lambda: obstore.list_with_delimiter(self._store))
        names = (prefix.rstrip("/").rpartition("/")[2] for prefix in listed["common_prefixes"])
        return sorted(name for name in names if len(name) == _FOLDER)

    def groups(self, folder: str) -> Iterator[tuple[str, list[ObjectCopy]]]:
        """The digests that begin with `folder`, each with its objects; blocks, and raises as `copies`."""
        for sha256, of_one in groupby(self._listed(f"{folder}/"), key=lambda one: one.key.split("/")[1]):
            yield sha256, list(of_one)

    def _listed(self, prefix: str) -> Iterator[ObjectCopy]:
        """Keys are listed in their order."""
        try:
            for page in obstore.list(self._store, prefix):
                yield from (
                    ObjectCopy(one["path"], one["size"], one["last_modified"].timestamp()) for one in page
                )
        except _REFUSED as error:
            raise _unavailable(error) from error

    def _asked(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except _REFUSED as error:
            raise _unavailable(error) from error


class Reading:
    """The bytes of one object in ranges: the first is asked for when this is made, several at a time from
    when they are taken. What is not taken to its end is closed.

    Raises
    ------
    ObjectLost, ObjectsUnavailable
        While it is iterated.
    """

    def __init__(self, get: Callable[[int, int], memoryview], size: int) -> None:
        self._get = get
        self._size = size
        self._starts = iter(range(0, size, RANGE_BYTES))
        self._coming: deque[tuple[Future[memoryview], int]] = deque()
        self._ask(most=1)

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> memoryview:
        # What is needed now is asked for whatever others read ahead.
        self._ask(most=RANGES_AHEAD, at_least=1)
        if not self._coming:
            raise StopIteration
        future, length = self._coming.popleft()
        _allowance.give_back(length)
        try:
            octets = future.result()
        except BaseException:
            self.close()
            raise
        if len(octets) != length:
            self.close()
            raise ObjectLost("the object is shorter than it was")
        return octets

    def close(self) -> None:
        """Let go of what was asked for and not taken."""
        while self._coming:
            future, length = self._coming.popleft()
            future.cancel()
            _allowance.give_back(length)

    def _ask(self, *, most: int, at_least: int = 0) -> None:
        while len(self._coming) < most:
            if len(self._coming) >= at_least and not _allowance.has_room:
                return
            if (start := next(self._starts, None)) is None:
                return
            end = min(start + RANGE_BYTES, self._size)
            _allowance.take(end - start)
            self._coming.append((_getting().submit(self._get, start, end), end - start))


class _Allowance:
    """How much the process reads ahead."""

    def __init__(self) -> None:
        self._taken = 0
        self._lock = threading.Lock()

    @property
    def has_room(self) -> bool:
        return self._taken < AHEAD_BYTES

    def take(self, octets: int) -> None:
        with self._lock:
            self._taken += octets

    def give_back(self, octets: int) -> None:
        with self._lock:
            self._taken -= octets


_allowance = _Allowance()


async def in_thread(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Carry out what asks a store of objects aside from the event loop, and from what waits for disks alone:
    a store that is slow must hold up nobody else."""
    return await asyncio.get_running_loop().run_in_executor(_asking(), partial(call, *arguments, **options))


@cache
def _asking() -> ThreadPoolExecutor:
    """The threads that wait for a store."""
    return ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="objects")


@cache
def _getting() -> ThreadPoolExecutor:
    """The threads of calls for ranges."""
    return ThreadPoolExecutor(_GETS, thread_name_prefix="object")


def _folder(sha256: str) -> str:
    return f"{sha256[:_FOLDER]}/{sha256}/"


def _store(url: str, access: S3Access, below: str, retries: int) -> S3Store:
    parts = urlsplit(url)
    client: ClientConfig = {
        "allow_http": access.allow_http,
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        "timeout": timedelta(seconds=_CALL_SECONDS),
    }
    if access.trust:
        client["root_certificate"] = access.trust.read_bytes()
    config: S3Config = {"region": access.region}
    if access.endpoint:
        config["endpoint"] = access.endpoint
    # Without keys those of the machine are asked for, as in a cloud that gives its machines roles.
    if access.access_key and access.secret_key:
        config["access_key_id"], config["secret_access_key"] = access.access_key, access.secret_key
    return S3Store(
        parts.netloc,
        prefix="/".join(filter(None, (parts.path.strip("/"), below))) or None,
        config=config,
        virtual_hosted_style_request=False,
        disable_bulk_delete=True,
        client_options=client,
        retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=_RETRY_SECONDS)},
    )


def _deadline(size: int) -> float:
    return _CALL_SECONDS + _RETRY_SECONDS + size / _SLOWEST_BYTES_PER_SECOND


def _unavailable(error: Exception) -> ObjectsUnavailable:
    """Why the store cannot be used, and which setting would be corrected."""
    match = _STATUS.search(str(error))
    status = match[1] if match else ""
    if isinstance(error, _ABSENT) or status == "404":
        return ObjectsUnavailable("has no such bucket; make it, or correct XDSI_STORAGE_URL", settled=True)
    if isinstance(error, _FORBIDDEN) or status in ("401", "403"):
        return ObjectsUnavailable(
            "refuses the key; correct XDSI_S3__ACCESS_KEY and XDSI_S3__SECRET_KEY",
            settled=True,
            setting="XDSI_S3__ACCESS_KEY",
        )
    if _CERTIFICATE.search(str(error)):
        return ObjectsUnavailable(
            "shows a certificate that is not trusted; name its authority in XDSI_S3__TRUST",
            settled=True,
            setting="XDSI_S3__TRUST",
        )
    if status:
        return ObjectsUnavailable(f"answers with an error (HTTP {status}); see its own log", status=status)
    return ObjectsUnavailable(
        f"does not answer ({type(error).__name__}); is it running? XDSI_S3__ENDPOINT names it"
    )
