"""WADO-RS Retrieve [RAD-107], initiating side (RAD TF-3 4.107; PS3.18 10.4): instances streamed to files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import httpx2

from consumer.domain.study import Delivery, RequestedInstance
from consumer.store import files
from consumer.store.landing import landed
from consumer.transactions.access import accessed
from consumer.transactions.bearer import authorization
from consumer.unit import Unit
from shared.faults import SenderFault
from shared.http.client import EgressRefused, PeerOrigin
from shared.http.incoming import SourceBroken
from shared.http.links import received_body
from shared.http.media_type import decode_media_type
from shared.http.multipart import DelimiterScanner, Headers, Parts
from shared.messages.rad107 import EVENT_TYPE
from shared.soap.client import PeerUnclear, PeerUnreachable
from shared.soap.mtom import RelayedBody

_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_OK, _PARTIAL = 200, 206
_MAX_PARTS = 100_000


async def retrieve(
    unit: Unit, instances: Sequence[RequestedInstance], folder: Path
) -> AsyncIterator[Delivery]:
    """Ask for `instances`, series by series, and yield each instance when its file in `folder` is whole.

    Raises
    ------
    PeerError
        The source does not answer, or its answer broke off; what came before is kept.
    EgressRefused
        The Retrieve URL is not of a configured peer, or is none; nothing was sent.
    Endless
        What came has no end.
    """
    base = _base(unit, instances[0].retrieve_url)
    for (study, series), group in groupby(sorted(instances, key=_series_of), key=_series_of):
        of_series = list(group)
        url = f"{base}/studies/{study}/series/{series}"
        if len(of_series) == 1:
            url += f"/instances/{of_series[0].sop_instance_uid}"
        tally = _Tally({one.sop_instance_uid: one for one in of_series})
        try:
            async for one, size in _get(unit, url, tally, folder):
                yield Delivery(one, size)
            for one in tally.missing.values():
                failure = tally.wrong.get(one.sop_instance_uid)
                yield Delivery(one, 0, str(failure or tally.absent), failure=failure)
        finally:
            delivered = {one.sop_instance_uid for one in of_series} - tally.missing.keys()
            await unit.record(*accessed(unit.caller(url), EVENT_TYPE, of_series, delivered))


def _base(unit: Unit, retrieve_url: str) -> str:
    """The Retrieve URL of a manifest, which is data from outside: of one of `dicomweb_peers` and nothing
    beside."""
    peers = unit.settings.dicomweb_peers
    one_of = f"of {', '.join(peers)}" if peers else "of a configured peer, and none is configured"
    refused = EgressRefused(
        f"the Retrieve URL of the manifest is not {one_of} (XDSI_CONSUMER__DICOMWEB_PEERS)"
    )
    try:
        url = httpx2.URL(retrieve_url)
        origin = PeerOrigin.of(url)
    except (ValueError, httpx2.InvalidURL):
        raise refused from None
    if origin not in map(PeerOrigin.of, peers) or url.userinfo or url.query or url.fragment:
        raise refused
    return str(url).rstrip("/")


def _series_of(one: RequestedInstance) -> tuple[str, str]:
    return one.study_instance_uid, one.series_instance_uid


@dataclass(slots=True)
class _Tally:
    """What one request was for and did not bring: `wrong` came, and is not what it should be; `others` are
    parts that are none of what was asked for."""

    missing: dict[str, RequestedInstance]
    wrong: dict[str, files.WrongInstance] = field(default_factory=dict)
    others: int = 0
    status: int = _OK

    @property
    def absent(self) -> str:
        """Why something is missing of which nothing came."""
        if self.status not in (_OK, _PARTIAL):
            return f"not given: the source answers HTTP {self.status}"
        others = f", in which {self.others} parts are something else" if self.others else ""
        return f"not in the answer{others}"


async def _get(
    unit: Unit, url: str, tally: _Tally, folder: Path
) -> AsyncIterator[tuple[RequestedInstance, int]]:
    """Yield what comes of what is missing, and take it out of `tally`, which gets to know why others do
    not."""
    try:
        async with unit.http.stream("GET", url, headers=_headers(unit, url)) as answer:
            tally.status = answer.status_code
            if tally.status not in (_OK, _PARTIAL):
                return
            limits = files.InstanceLimits.of(unit.settings)
            keep = partial(_kept, dict(tally.missing), folder)
            async with aclosing(_received(answer, folder, keep, limits)) as received:
                async for instance in received:
                    if instance is None or instance.one.sop_instance_uid not in tally.missing:
                        tally.others += 1
                        continue
                    if instance.wrong is not None:
                        tally.wrong[instance.one.sop_instance_uid] = instance.wrong
                        continue
                    del tally.missing[instance.one.sop_instance_uid]
                    yield instance.one, instance.size
    except SourceBroken as error:
        raise PeerUnclear(url, f"the answer broke off: {error}") from error
    except httpx2.ConnectError as error:
        raise PeerUnreachable(url, str(error)) from error
    except (httpx2.HTTPError, SenderFault) as error:
        raise PeerUnclear(url, str(error) or type(error).__name__) from error


class _Kept(NamedTuple):
    """An instance that came; what is `wrong` with it, when it was not kept."""

    one: RequestedInstance
    size: int
    wrong: files.WrongInstance | None = None


def _kept(
    requested: Mapping[str, RequestedInstance], folder: Path, headers: Headers, path: Path, size: int
) -> _Kept | None:
    """Keep a file that is one of those `requested`; None for another one, or one that says of itself nothing
    that can be read."""
    try:
        identity = files.identity(path)
    except files.WrongInstance:
        return None
    one = requested.get(identity.sop_instance_uid)
    if one is None:
        return None
    try:
        files.check(one, identity)
    except files.WrongInstance as error:
        return _Kept(one, size, error)
    files.keep(path, folder / one.file_name)
    return _Kept(one, size)


async def _received(
    answer: httpx2.Response,
    folder: Path,
    keep: Callable[[Headers, Path, int], _Kept | None],
    limits: files.InstanceLimits,
) -> AsyncGenerator[_Kept | None]:
    """What `keep` makes of each instance that comes."""
    boundary = decode_media_type(answer.headers.get("content-type", "")).parameter("boundary")
    body = received_body(answer)
    if body is not None and body.plain:
        rest = RelayedBody(body, DelimiterScanner(boundary, max_parts=_MAX_PARTS))
        landing = landed(rest, folder, limits, is_wanted=lambda headers: True, keep=keep)
        async with aclosing(landing):
            async for instance in landing:
                yield instance
        return
    parts = Parts(answer.aiter_raw(), boundary, max_parts=_MAX_PARTS)
    async for part in files.in_time(parts, limits):
        path, size = await files.receive(part.chunks(), folder, limits)
        try:
            yield await asyncio.to_thread(keep, part.headers, path, size)
        finally:
            path.unlink(missing_ok=True)


def _headers(unit: Unit, url: str) -> Mapping[str, str]:
    return {"accept": _ACCEPT, "accept-encoding": "identity", **authorization(unit, "GET", url)}
