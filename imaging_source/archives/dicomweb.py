"""An archive that is asked by QIDO-RS and WADO-RS (PS3.18 10.4, 10.6)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

import httpx2

from imaging_source.archives.archive import ArchiveAway, Room, Take
from imaging_source.archives.keys import keys_of
from imaging_source.domain.listing import ListedInstance
from imaging_source.domain.transfer import Sender
from imaging_source.store.incoming import Incoming
from shared.audit.events import http_pull_participants
from shared.dicom.json import Attributes, text
from shared.dicom.uids import is_uid
from shared.faults import SenderFault
from shared.http.client import EgressRefused, ourselves
from shared.http.media_type import MULTIPART, decode_media_type
from shared.http.multipart import Part, Parts
from shared.imaging.description import patient_issuer
from shared.imaging.query.query import Query
from shared.messages.rad107 import EVENT_TYPE
from shared.security.caller import Caller, Node

_STUDIES: Final = "/studies"
_DICOM_JSON: Final = "application/dicom+json"
#: In whatever transfer syntax the archive has it, so that nothing is decoded on the way.
_AS_STORED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_PATIENT: Final = ("00100020", "00100021", "00100024")
_PAGE: Final = 1_000
_MAX_PAGE_BYTES: Final = 32 * 1024**2
_MAX_INSTANCES: Final = 100_000
_BATCH_BYTES: Final = 1024**2
_LONGEST_BOUNDARY: Final = 128
# Where each of so few instances is asked for alone, and not with its series.
_FEW: Final = 4
# Of the answer and not of the instance: the same one may be told with others.
_OF_ANSWER: Final = frozenset({"00080005", "00080056", "00081190", "00080054"})


class DicomwebArchive:
    """The archive `name` at `url`, the base of its DICOM web services.

    `authorization` is sent with each request where it is set; `seconds` are those for one answer or instance.
    """

    def __init__(
        self,
        name: str,
        url: str,
        http: httpx2.AsyncClient,
        *,
        node: Node,
        seconds: float,
        authorization: str = "",
    ) -> None:
        self.name = name
        self._url = url.rstrip("/")
        self._http = http
        self._node = node
        self._seconds = seconds
        self._headers = {"accept-encoding": "identity"}
        if authorization:
            self._headers["authorization"] = authorization

    def sender(self) -> Sender:
        """The archive as the source of a pull."""
        caller = Caller(node=ourselves(self._node, self._http, self._url), endpoint=self._url)
        return Sender(transaction=EVENT_TYPE, participants=http_pull_participants(caller, server=False))

    # --- QIDO-RS -----------------------------------------------------------------------------------------

    async def find_studies(self, query: Query, *, limit: int) -> Sequence[Attributes]:
        """See `Archive`: asked for what it surely knows, whoever asks matches the rest."""
        parameters = {f"{tag:08X}": ",".join(values) for tag, values in keys_of(query).items()}
        tags = query.include | {key.path[0] for key in query.keys}
        fields = [f"{tag:08X}" for tag in sorted(tags)] + list(_PATIENT)
        return await self._found(_STUDIES, {**parameters, "includefield": fields, "limit": limit})

    async def list_study(self, study_instance_uid: str) -> Sequence[ListedInstance]:
        """See `Archive`."""
        fields: Mapping[str, Any] = {"includefield": list(_PATIENT)}
        studies = await self._found(_STUDIES, {"StudyInstanceUID": study_instance_uid, **fields})
        study = next((one for one in studies if text(one, 0x0020000D) == study_instance_uid), None)
        if study is None:
            return ()
        listed: dict[str, ListedInstance] = {}
        while len(listed) < _MAX_INSTANCES:
            page = await self._found(
                f"/studies/{study_instance_uid}/instances",
                {**fields, "limit": _PAGE, "offset": len(listed)},
            )
            before = len(listed)
            for attributes in page:
                one = _listed(study_instance_uid, study, attributes)
                if one is not None:
                    listed.setdefault(one.sop_instance_uid, one)
            # Whoever knows no offset tells the same again.
            if len(page) < _PAGE or len(listed) == before:
                return tuple(listed.values())
        raise self._away(f"lists more than {_MAX_INSTANCES} instances of a study")

    async def _found(self, path: str, parameters: Mapping[str, Any]) -> list[Attributes]:
        async with self._answer(path, _DICOM_JSON, parameters) as response:
            if response is None:
                return []
            octets = bytearray()
            async for chunk in response.aiter_raw():
                octets += chunk
                if len(octets) > _MAX_PAGE_BYTES:
                    raise self._away("tells more than was asked for")
        try:
            page = json.loads(octets) if octets else []
        except (ValueError, RecursionError):
            raise self._away("answers a query with what is no DICOM JSON") from None
        if not isinstance(page, list) or not all(map(_is_data_set, page)):
            raise self._away("answers a query with what is no DICOM JSON")
        return page

    # --- WADO-RS -----------------------------------------------------------------------------------------

    async def retrieve(self, instances: Sequence[ListedInstance], room: Room, take: Take) -> None:
        """See `Archive`: by series, and a few of one alone."""
        key = attrgetter("study_instance_uid", "series_instance_uid")
        for (study, series), group in groupby(sorted(instances, key=key), key=key):
            uids = [one.sop_instance_uid for one in group]
            path = f"/studies/{study}/series/{series}"
            for resource in [f"{path}/instances/{uid}" for uid in uids] if len(uids) <= _FEW else [path]:
                await self._hand_over(resource, room, take)

    async def _hand_over(self, path: str, room: Room, take: Take) -> None:
        async with self._answer(path, _AS_STORED) as response:
            if response is None:
                return
            media_type = decode_media_type(response.headers.get("content-type", ""))
            if media_type.name != MULTIPART:
                raise self._away("answers a retrieval with what is no multipart/related")
            parts = Parts(
                response.aiter_raw(),
                media_type.parameter("boundary"),
                max_parts=_MAX_INSTANCES,
                max_boundary=_LONGEST_BOUNDARY,
            )
            while True:
                async with asyncio.timeout(self._seconds):
                    part = await anext(parts, None)
                    if part is None:
                        return
                    incoming = await _spooled(part, room)
                await take(incoming)

    @asynccontextmanager
    async def _answer(
        self, path: str, accept: str, parameters: Mapping[str, Any] | None = None
    ) -> AsyncIterator[httpx2.Response | None]:
        """The answer, or None where there is nothing."""
        headers = {**self._headers, "accept": accept}
        try:
            async with self._http.stream(
                "GET", f"{self._url}{path}", params=parameters, headers=headers
            ) as response:
                if response.status_code == httpx2.codes.NO_CONTENT or (
                    # Nothing at all stands where every archive has its studies: it is another place.
                    response.status_code == httpx2.codes.NOT_FOUND and path != _STUDIES
                ):
                    yield None
                elif response.status_code not in (httpx2.codes.OK, httpx2.codes.PARTIAL_CONTENT):
                    raise self._away(f"answers {response.status_code}")
                elif response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise self._away("answers with a Content-Encoding that was not asked for")
                else:
                    yield response
        except TimeoutError:
            raise self._away(f"is too slow: nothing whole came in {self._seconds:g} s") from None
        except (httpx2.HTTPError, OSError, EgressRefused) as error:
            raise self._away(f"does not answer ({type(error).__name__})") from None
        except SenderFault:
            raise self._away("broke off, or sends what is no multipart message") from None

    def _away(self, what: str) -> ArchiveAway:
        return ArchiveAway(f"the archive {self.name} {what}")


def _is_data_set(value: Any) -> bool:
    """Whether a value has the form of DICOM JSON (PS3.18 F.2), as far as it is read."""
    return isinstance(value, dict) and all(map(_is_element, value.values()))


def _is_element(element: Any) -> bool:
    values = element.get("Value", []) if isinstance(element, dict) else None
    if not isinstance(values, list):
        return False
    if element.get("vr") == "PN":
        return all(isinstance(one, dict) and all(isinstance(g, str) for g in one.values()) for one in values)
    return all(_is_data_set(one) for one in values if isinstance(one, dict))


async def _spooled(part: Part, room: Room) -> Incoming:
    incoming = room()
    gathered: list[bytes] = []
    waiting = 0
    try:
        async for chunk in part.chunks():
            gathered.append(chunk)
            waiting += len(chunk)
            if waiting >= _BATCH_BYTES:
                await asyncio.to_thread(incoming.write, b"".join(gathered))
                gathered, waiting = [], 0
        await asyncio.to_thread(incoming.write, b"".join(gathered))
    except BaseException:
        incoming.discard()
        raise
    return incoming


def _listed(study_instance_uid: str, study: Attributes, attributes: Attributes) -> ListedInstance | None:
    """What is told of an instance; None when it is none of the study, or has no UIDs that can be."""
    series, instance = text(attributes, 0x0020000E), text(attributes, 0x00080018)
    of_study = text(attributes, 0x0020000D) or study_instance_uid
    if of_study != study_instance_uid or not (is_uid(series) and is_uid(instance)):
        return None
    # Servers leave out of the answer what stands above the level.
    patient = attributes if "00100020" in attributes else study
    issuer = patient_issuer(attributes) if "00100021" in attributes else patient_issuer(study)
    return ListedInstance(
        study_instance_uid=study_instance_uid,
        series_instance_uid=series,
        sop_instance_uid=instance,
        sop_class_uid=text(attributes, 0x00080016),
        patient_id=text(patient, 0x00100020),
        issuer_of_patient_id=issuer,
        digest=_digest(attributes, study),
    )


def _digest(attributes: Attributes, study: Attributes) -> str:
    content = [{key: one for key, one in attributes.items() if key not in _OF_ANSWER}]
    content.append({key: study[key] for key in ("00100010", *_PATIENT) if key in study})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
