"""WADO-RS Retrieve [RAD-107], initiating side (RAD TF-3 4.107; PS3.18 10.4): instances streamed to files."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import httpx2

from consumer.domain.study import Delivery, RequestedInstance
from consumer.store import files
from consumer.transactions.access import accessed
from consumer.unit import Unit
from shared.faults import SenderFault
from shared.http.client import EgressRefused, PeerOrigin
from shared.http.media_type import decode_media_type
from shared.http.multipart import Parts
from shared.messages.rad107 import EVENT_TYPE
from shared.soap.client import PeerUnclear, PeerUnreachable

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
        missing = {one.sop_instance_uid: one for one in of_series}
        wrong: dict[str, files.WrongInstance] = {}
        try:
            async for one, size in _get(unit, url, missing, wrong, folder):
                yield Delivery(one, size)
            for one in missing.values():
                failure = wrong.get(one.sop_instance_uid)
                yield Delivery(one, 0, str(failure or "not in the answer"), failure=failure)
        finally:
            delivered = {one.sop_instance_uid for one in of_series} - missing.keys()
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


async def _get(
    unit: Unit,
    url: str,
    missing: dict[str, RequestedInstance],
    wrong: dict[str, files.WrongInstance],
    folder: Path,
) -> AsyncIterator[tuple[RequestedInstance, int]]:
    """Yield those of `missing` that come, and take them out of it; `wrong` gets to know why others do not."""
    try:
        async with unit.http.stream("GET", url, headers=_headers(unit)) as answer:
            if answer.status_code not in (_OK, _PARTIAL):
                return
            media_type = decode_media_type(answer.headers.get("content-type", ""))
            chunks = answer.aiter_raw()
            limits = files.InstanceLimits.of(unit.settings)
            parts = Parts(chunks, media_type.parameter("boundary"), max_parts=_MAX_PARTS)
            async for part in files.in_time(parts, limits):
                path, size = await files.receive(part.chunks(), folder, limits)
                one: RequestedInstance | None = None
                try:
                    identity = await files.identity(path)
                    one = missing.get(identity.sop_instance_uid)
                    if one is None:
                        continue
                    files.check(one, identity)
                    files.keep(path, folder / one.file_name)
                except files.WrongInstance as error:
                    # What can be said of which one is, and the others are good.
                    if one is not None:
                        wrong[one.sop_instance_uid] = error
                    continue
                finally:
                    path.unlink(missing_ok=True)
                del missing[one.sop_instance_uid]
                yield one, size
    except httpx2.ConnectError as error:
        raise PeerUnreachable(url, str(error)) from error
    except (httpx2.HTTPError, SenderFault) as error:
        raise PeerUnclear(url, str(error) or type(error).__name__) from error


def _headers(unit: Unit) -> Mapping[str, str]:
    headers = {"accept": _ACCEPT, "accept-encoding": "identity"}
    if assertion := unit.assertion():
        headers["authorization"] = f"Bearer {urlsafe_b64encode(assertion).rstrip(b'=').decode()}"
    return headers
