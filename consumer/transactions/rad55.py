"""WADO Retrieve [RAD-55], initiating side: WADO-URI, instance by instance, to files (RAD TF-2 4.55; PS3.18
9)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path

import httpx2

from consumer.domain.study import Delivery, RequestedInstance
from consumer.store import files
from consumer.transactions.access import accessed
from consumer.transactions.bearer import authorization
from consumer.unit import Unit
from shared.audit.events import ihe
from shared.dicom.uids import EXPLICIT_LE
from shared.soap.client import PeerUnclear, PeerUnreachable

EVENT_TYPE = ihe("RAD-55", "WADO Retrieve")
# As it is stored, where the server knows how that is asked for, else without compression.
_SYNTAXES = ("*", EXPLICIT_LE)
_UNKNOWN_SYNTAX = (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_ACCEPTABLE)


async def retrieve(
    unit: Unit, instances: Sequence[RequestedInstance], folder: Path
) -> AsyncIterator[Delivery]:
    """Ask for `instances`, all of one place, one after the other, and yield each when its file in `folder` is
    whole, or when it is known not to come.

    Raises
    ------
    PeerError
        The source does not answer, or an answer broke off; what came before is kept.
    Endless
        What came has no end.
    """
    url = unit.settings.wado_uris[instances[0].retrieve_ae_title]
    delivered: set[str] = set()
    try:
        for one in instances:
            delivery = await _delivery(unit, url, one, folder)
            if not delivery.reason:
                delivered.add(one.sop_instance_uid)
            yield delivery
    finally:
        await unit.record(*accessed(unit.caller(url), EVENT_TYPE, instances, delivered))


async def _delivery(unit: Unit, url: str, one: RequestedInstance, folder: Path) -> Delivery:
    for syntax in _SYNTAXES:
        try:
            address = _address(url, one, syntax)
            async with unit.http.stream("GET", address, headers=_headers(unit, str(address))) as answer:
                if answer.status_code in _UNKNOWN_SYNTAX:
                    continue
                if answer.status_code != HTTPStatus.OK:
                    return Delivery(one, 0, f"not given: the source answers {answer.status_code}")
                limits = files.InstanceLimits.of(unit.settings)
                return Delivery(one, await files.receive_instance(answer.aiter_raw(), one, folder, limits))
        except files.Endless:
            raise
        except files.WrongInstance as error:
            return Delivery(one, 0, str(error), failure=error)
        except httpx2.ConnectError as error:
            raise PeerUnreachable(url, str(error)) from error
        except httpx2.HTTPError as error:
            raise PeerUnclear(url, str(error) or type(error).__name__) from error
    return Delivery(one, 0, "not given: the source takes neither `*` nor Explicit VR Little Endian")


def _address(url: str, one: RequestedInstance, syntax: str) -> httpx2.URL:
    """The address of one instance; what stands in the query of `url` stays."""
    return httpx2.URL(url).copy_merge_params(
        {
            "requestType": "WADO",
            "studyUID": one.study_instance_uid,
            "seriesUID": one.series_instance_uid,
            "objectUID": one.sop_instance_uid,
            "contentType": "application/dicom",
            "transferSyntax": syntax,
        }
    )


def _headers(unit: Unit, url: str) -> dict[str, str]:
    user = authorization(unit, "GET", url)
    return {"accept": "application/dicom", "accept-encoding": "identity", **user}
