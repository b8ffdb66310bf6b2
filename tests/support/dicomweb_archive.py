"""A DICOMweb archive that tells and sends what a test says, true or not, by real HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import pydicom
from pydicom.dataset import Dataset

from tests.support.dicom import part10

_BOUNDARY = "archive-boundary"


@dataclass
class ScriptedArchive:
    """Keeps `files` by SOP Instance UID, and lists what they say of themselves.

    `sends` are sent under a UID instead of its file; `lists` changes what is listed; `status` is answered to
    all; `cut` ends each retrieval after so many bytes.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    sends: dict[str, list[bytes]] = field(default_factory=dict)
    lists: Callable[[list[dict[str, Any]]], Any] = lambda attributes: attributes
    status: int = 200
    cut: int | None = None
    asked: list[str] = field(default_factory=list)

    def keep(self, *images: Dataset) -> None:
        """Have these instances."""
        for one in images:
            self.files[one.SOPInstanceUID] = part10(one)

    @property
    def retrievals(self) -> int:
        """How often images were asked for."""
        return sum("multipart" in one for one in self.asked)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.asked.append(f"{scope['path']} {headers.get('accept', '')}")
        parts = scope["path"].removeprefix("/dicom-web").strip("/").split("/")
        query = dict(one.partition("=")[::2] for one in scope["query_string"].decode().split("&"))
        if self.status != 200:
            await _answer(send, self.status, "text/plain", b"")
        elif "json" in headers.get("accept", ""):
            body = json.dumps(self.lists(self._listed(parts, query))).encode()
            await _answer(send, 200, "application/dicom+json", body)
        else:
            await self._send(send, parts)

    def _headers(self) -> list[Dataset]:
        return [pydicom.dcmread(BytesIO(one), stop_before_pixels=True) for one in self.files.values()]

    def _listed(self, parts: list[str], query: dict[str, str]) -> list[dict[str, Any]]:
        study = parts[1] if len(parts) > 1 else query.get("StudyInstanceUID", query.get("0020000D", ""))
        of_study = [one for one in self._headers() if study in ("", one.StudyInstanceUID)]
        keywords = ["StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate"]
        if len(parts) == 1:
            firsts = {one.StudyInstanceUID: one for one in reversed(of_study)}
            of_study = list(firsts.values())
        else:
            keywords += ["SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber"]
        offset = int(query.get("offset", 0))
        listed = []
        for one in of_study[offset:]:
            told = Dataset()
            for keyword in keywords:
                if keyword in one:
                    setattr(told, keyword, one[keyword].value)
            listed.append(told.to_json_dict())
        return listed

    async def _send(self, send: Any, parts: list[str]) -> None:
        uids = dict(zip(parts[::2], parts[1::2], strict=False))
        wanted = [
            one.SOPInstanceUID
            for one in self._headers()
            if one.StudyInstanceUID == uids["studies"]
            and uids.get("series", one.SeriesInstanceUID) == one.SeriesInstanceUID
            and uids.get("instances", one.SOPInstanceUID) == one.SOPInstanceUID
        ]
        if not wanted:
            await _answer(send, 404, "text/plain", b"")
            return
        body = bytearray()
        for uid in wanted:
            for octets in self.sends.get(uid, [self.files[uid]]):
                body += f"\r\n--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + octets
        body += f"\r\n--{_BOUNDARY}--\r\n".encode()
        kind = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
        await _answer(send, 200, kind, bytes(body[: self.cut]))


async def _answer(send: Any, status: int, media_type: str, body: bytes) -> None:
    headers = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
